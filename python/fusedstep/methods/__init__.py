"""The one list of the classes; a new method joins here."""

from .adabelief import AdaBelief
from .adadelta import Adadelta
from .adagrad import Adagrad, WindowedAdagrad
from .adam import Adam, AdamW
from .adamax import Adamax
from .adaptive import Adaptive
from .lion import Lion
from .nadam import NAdam
from .radam import RAdam
from .rmsprop import RMSprop
from .sgd import SGD
from .yogi import Yogi

__all__ = [
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adaptive",
    "Lion",
    "NAdam",
    "RAdam",
    "RMSprop",
    "WindowedAdagrad",
    "Yogi",
]
