"""A contract for import-linter that starts to bind when the modules that it speaks of appear."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.domain.contract import ContractCheck
from importlinter.domain.helpers import module_expression_to_modules


class ForbiddenWhenPresent(ForbiddenContract):
    """Like ``forbidden``, but source modules that do not exist (yet) are passed over instead of being an error."""

    type_name = "forbidden_when_present"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        self.source_modules = {
            expression
            for expression in self.source_modules
            if any(module.name in graph.modules for module in module_expression_to_modules(graph, expression))
        }
        return super().check(graph, verbose)
