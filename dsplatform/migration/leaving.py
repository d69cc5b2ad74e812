"""Tables whose rows do not come along, by a rule."""

from collections.abc import Iterable, Sequence

from dsplatform.core.database import Transaction
from dsplatform.migration.model import Entity, Finding, Group, Landed, Outcome, Rule
from dsplatform.migration.step import Prepared, Step

NO_HOME = (
    Entity.EXPLORATION_CONFIGS,
    Entity.EXPLORATION_RUNS,
    Entity.EXPLORATION_OUTPUTS,
    Entity.SAMPLING_RUNS,
    Entity.SAMPLING_OUTPUTS,
    Entity.ANALYSIS_CONFIGURATIONS,
    Entity.ANALYSIS_RUNS,
    Entity.STATISTICS,
)


class LeavingStep(Step[None]):
    """Accounts for the rows of one table, and leaves them behind."""

    leaf = True

    def __init__(self, entity: Entity, rule: Rule) -> None:
        self.entity = entity
        self._rule = rule

    def land(self, tx: Transaction, groups: Sequence[Group], prepared: Prepared[None]) -> Iterable[Landed]:
        """Says by which rule."""
        findings = (Finding(self._rule, {}),)
        return [Landed(self.entity, group.row.key, Outcome.EXCLUDED, None, findings) for group in groups]


def leaving() -> Sequence[LeavingStep]:
    """All of them."""
    return [LeavingStep(Entity.SCHEMAS, Rule.CAPTURED_ANEW), *(LeavingStep(entity, Rule.NO_HOME) for entity in NO_HOME)]
