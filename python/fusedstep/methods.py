"""The one list of the classes; a new method joins here."""

from .adabelief import AdaBelief
from .adagrad import Adagrad, WindowedAdagrad
from .adam import Adam, Adamax, AdamW, NAdam
from .adaptive import Adaptive
from .lion import Lion
from .radam import RAdam
from .rmsprop import Adadelta, RMSprop
from .sgd import SGD
from .yogi import Yogi

__all__ = [
    "SGD",
    "Adagrad",
    "WindowedAdagrad",
    "RMSprop",
    "Adadelta",
    "Adam",
    "AdamW",
    "RAdam",
    "NAdam",
    "Adamax",
    "Lion",
    "AdaBelief",
    "Yogi",
    "Adaptive",
]
