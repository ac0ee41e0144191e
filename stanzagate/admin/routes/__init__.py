"""The routes of the admin API, one file for each noun."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends

from stanzagate.admin.access import Caller, caller_of
from stanzagate.admin.services import Services, services_of

Asked = Annotated[Services, Depends(services_of)]
"""The services of the application."""

By = Annotated[Caller, Depends(caller_of)]
"""Who asks."""

CSV = "text/csv; charset=utf-8"
CSV_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
}
"""What OpenAPI is told about a route that reads CSV."""
