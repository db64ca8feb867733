from .methods import *  # noqa: F403
from .numpy_stats import stats as stats
