"""Incremental learners: what is trained, on what, with which loss, task after task."""

from alade_brian.learning.incremental.learner import Learner, State, TaskData, TaskHistory
from alade_brian.learning.incremental.methods import METHODS, incremental_methods, method_class

__all__ = ["METHODS", "Learner", "State", "TaskData", "TaskHistory", "incremental_methods", "method_class"]
