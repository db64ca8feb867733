from .in_numpy.stats import stats as stats
from .methods import *  # noqa: F403
