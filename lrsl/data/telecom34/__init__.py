"""telecom34: a synthetic corpus in the shape of CMCC-34, made by a seeded generator. No real call is in it.

CMCC-34 holds transcribed calls between agents and customers of a Chinese mobile operator, each with one of 34 labels in
three groups; it cannot be passed on. This corpus copies its shape only: the 34 labels and 3 groups, translated; the
long tail of the classes; calls of several turns; labels that share their vocabulary, so that often a single turn tells
them apart. Everything said in the calls is made up, in English, from the phrases in the YAML files beside this module:

* `labels.yaml`: the labels, how frequent they are, and what they are confused with;
* `inquiry.yaml`, `transaction.yaml`, `complaint.yaml`: what customers ask and agents answer, per label;
* `situations.yaml`: how calls open, shared by neighbouring labels;
* `people.yaml`: agents and customers with their habits; `slots.yaml`: products, amounts, dates, places;
* `noise.yaml`: fillers and words as a recogniser mishears them.

A third of the ways to ask are heard in validation and test only: real callers, too, say things nobody has said before.
About one call in twelve never quite says what it is about, its deciding turn being vague or cut off, so no classifier
gets everything right. No customer says the same in two splits.

It comes in two sizes. In `full` a call goes from greeting to farewell. In `small`, the default, a call is written down
up to its point, so that a laptop trains on it within minutes, and one in five ways to ask is kept from training.

It is made for trying things out: figures on it say nothing about real calls.
"""

from lrsl.data.telecom34.generate import SEED, load

__all__ = ["SEED", "load"]
