"""One call: who speaks, in which order, and which turn decides what the call is about."""

from __future__ import annotations

from lrsl.data.corpus import Turn
from lrsl.data.telecom34.draw import Draw
from lrsl.data.telecom34.noise import cut_off, spoken
from lrsl.data.telecom34.phrases import Label, Lines, fill, read

SHORT = 0.25
"""Share of calls in which the customer comes straight to the point."""
VAGUE = 0.08
"""Share of calls whose deciding turn stays vague or is cut off."""
ASIDE = 0.55
"""Share of calls in which the customer mentions a neighbouring label's matter before the own one."""
RETRACT = 0.6
"""Share of those asides that are a whole question, taken back."""
GUESS_RIGHT = 0.4
"""Share of the agent's summaries that are right, so that the customer only agrees."""
SECOND = 0.15
"""Share of calls short enough for it that touch on a neighbouring label's matter after the own one."""
OWN_REPLY = 0.3
"""Share of calls in which the agent's answer tells what the call was about."""
ANGRY_COMPLAINT = 0.35
"""Share of complaints that are voiced angrily whatever the customer's habit."""
BRIEF_SHORT = 0.75
"""Share of brief calls in which the customer comes straight to the point."""
BRIEF_ASIDE = 0.3
"""Share of the other brief calls in which a neighbouring label's matter is mentioned before the own one."""
BRIEF_REPLY = 0.2
"""Share of brief calls that go on to the agent's answer."""
UNHEARD = 3
"""One in so many ways to ask is kept from training, so that validation and test hold some that nobody has heard."""
BRIEF_UNHEARD = 5
"""The same for brief calls, which say it once only."""


class Call:
    """A call being made up: its label, its two people, what was settled so far and the turns said.

    Args:
        label: what the call is about.
        labels: all labels by name.
        training: whether it is for training, where some ways to ask are not heard.
        draw: where choices come from.
    """

    def __init__(self, label: Label, labels: dict[str, Label], training: bool, draw: Draw) -> None:
        people = read("people")
        self.label, self.labels, self.training, self.draw = label, labels, training, draw
        self.unheard = UNHEARD
        self.agent = draw.one_of(list(people["agents"]))
        self.customer = draw.one_of(list(people["customers"]))
        if label.group == "complaint" and draw.chance(ANGRY_COMPLAINT):
            self.customer = "angry"
        self.agent_habits: dict[str, float] = people["agents"][self.agent]
        self.customer_habits: dict[str, float] = people["customers"][self.customer]
        self.situation: dict[str, Lines] = read("situations")[draw.one_of(label.about)]
        self.slots: dict[str, str] = {}
        self.turns: list[Turn] = []

    def tell(self) -> list[Turn]:
        """Return the turns of the whole call, four to nine of them."""
        draw, people = self.draw, read("people")
        self._agent_says(self._line(people["greet"][self.agent]))
        hello, opening = self._line(people["hello"][self.customer]), self._line(self.situation["open"])
        vague = draw.chance(VAGUE)
        if draw.chance(SHORT):
            self._customer_says(hello, self._matter(vague))
        else:
            self._customer_says(*([hello] if draw.chance(0.25) else []), opening, *self._rambling())
            self._middle(vague)
        self._reply()
        self._end()
        return self.turns

    def tell_briefly(self) -> list[Turn]:
        """Return the turns of a call that is written down up to its point only, two to five of them."""
        draw, people, self.unheard = self.draw, read("people"), BRIEF_UNHEARD
        self._agent_says(self._line(people["greet"][self.agent]))
        vague = draw.chance(VAGUE)
        if draw.chance(BRIEF_SHORT):
            self._customer_says(self._matter(vague))
        else:
            self._customer_says(self._line(self.situation["open"]))
            self._inquiry(vague, BRIEF_ASIDE)
        if draw.chance(BRIEF_REPLY):
            self._reply()
        return self.turns

    def _middle(self, vague: bool) -> None:
        """Add the turns from the opening to the deciding one."""
        draw, people = self.draw, read("people")
        if draw.chance(self.agent_habits["verify"]):
            question, answer = draw.one_of(people["verify"]).split(" / ")
            self._agent_says(fill(question, self.slots, draw))
            self._customer_says(fill(answer, self.slots, draw))
        self._inquiry(vague, ASIDE)

    def _inquiry(self, vague: bool, aside_share: float) -> None:
        """Add the agent's guess or question and the deciding turn that it is answered with."""
        draw, people = self.draw, read("people")
        if not vague and draw.chance(self.agent_habits["guess"]):
            right = draw.chance(GUESS_RIGHT)
            topic = self._topic(self.label if right else self._neighbour())
            self._agent_says(self._line(people["guess"], topic=topic))
            if right:
                self._customer_says(self._line(people["agree"][self.customer]), self._line(self.situation["vague"]))
            else:
                self._customer_says(self._line(people["refuse"][self.customer]), self._ask(self.label))
        else:
            self._agent_says(self._line(people["probe"]))
            aside = self._aside() if draw.chance(aside_share) else []
            self._customer_says(*aside, self._matter(vague))

    def _reply(self) -> None:
        """Add the agent's answer."""
        reply = self.label.reply if self.draw.chance(OWN_REPLY) else read("people")["generic"]
        self._agent_says(self._line(reply))

    def _matter(self, vague: bool) -> str:
        """Return the deciding words; in a vague call those that leave it open, or only their beginning."""
        if not vague:
            return self._ask(self.label)
        if self.draw.chance(0.5):
            return self._line(self.situation["vague"])
        return cut_off(self._ask(self.label), self.draw)

    def _aside(self) -> list[str]:
        """Return words about a neighbouring label's matter that is not what the call is about."""
        people, neighbour = read("people"), self._neighbour()
        if self.draw.chance(RETRACT):
            return [self._ask(neighbour), self._line(people["retract"])]
        return [self._line(people["aside"], topic=self._topic(neighbour))]

    def _end(self) -> None:
        """Add what follows the agent's answer: a second matter, thanks, a farewell; or nothing, when it breaks off."""
        draw, people = self.draw, read("people")
        if len(self.turns) <= 5 and draw.chance(SECOND):
            neighbour = self._neighbour()
            if draw.chance(0.5):
                self._customer_says(self._line(people["also"]), self._ask(neighbour))
            else:
                self._customer_says(self._line(people["second"], topic=self._topic(neighbour)))
            self._agent_says(self._line(people["second_reply"]))
        if len(self.turns) % 2 and (len(self.turns) < 4 or draw.chance(0.55)):
            self._customer_says(self._line(people["bye"][self.customer]))
            if draw.chance(0.4):
                upsell = [self._line(people["upsell"])] if draw.chance(self.agent_habits["upsell"]) else []
                self._agent_says(*upsell, self._line(people["close"][self.agent]))

    def _rambling(self) -> list[str]:
        return [self._line(read("people")["ramble"])] if self.draw.chance(self.customer_habits["ramble"]) else []

    def _neighbour(self) -> Label:
        return self.labels[self.draw.early_one_of(self.label.near)]

    def _ask(self, label: Label) -> str:
        heard = [line for i, line in enumerate(label.ask) if i % self.unheard != self.unheard // 2]
        return self._line(tuple(heard) if self.training else label.ask)

    def _topic(self, label: Label) -> str:
        return fill(self.draw.early_one_of(label.topic), self.slots, self.draw)

    def _line(self, lines: Lines, topic: str = "") -> str:
        self.slots["topic"] = topic
        return _capitalised(fill(self.draw.early_one_of(lines), self.slots, self.draw))

    def _agent_says(self, *sentences: str) -> None:
        self.turns.append(Turn("agent", _capitalised(" ".join(sentences))))

    def _customer_says(self, *sentences: str) -> None:
        words = spoken(" ".join(sentences), self.customer_habits["noise"], self.draw)
        self.turns.append(Turn("customer", _capitalised(words)))


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
