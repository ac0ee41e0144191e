"""The enumerations of RFC 7970, sections 2.15 to 3.16, with their values in the order of the standard.

An attribute whose list ends with "ext-value" can be extended privately (section 5.1.1): it then says "ext-value" and
its partner, the attribute of the same name with the prefix "ext-", has the value itself. The names follow the IANA
registries of section 10.2 where there is one.
"""

from typing import Literal

# 2.15.1, SoftwareReference: spec-name
SpecName = Literal["custom", "cpe", "swid", "ext-value"]

# 2.15.1, SoftwareReference: dtype
SoftwareDType = Literal["bytes", "integer", "real", "string", "xml", "ext-value"]

# 2.16, every class of the type EXTENSION: dtype
DType = Literal[
    "boolean",
    "byte",
    "bytes",
    "character",
    "date-time",
    "ntpstamp",
    "integer",
    "portlist",
    "real",
    "string",
    "file",
    "path",
    "frame",
    "packet",
    "ipv4-packet",
    "ipv6-packet",
    "url",
    "csv",
    "winreg",
    "xml",
    "ext-value",
]

# 3.2, Incident: purpose
Purpose = Literal["traceback", "mitigation", "reporting", "watch", "other", "ext-value"]

# 3.2, Incident: status
IncidentStatus = Literal["new", "in-progress", "forwarded", "resolved", "future", "ext-value"]

# 3.3.1, the restriction attribute of every class
Restriction = Literal[
    "public",
    "partner",
    "need-to-know",
    "private",
    "default",
    "white",
    "green",
    "amber",
    "red",
    "ext-value",
]

# 3.9, Contact: role
ContactRole = Literal[
    "creator",
    "reporter",
    "admin",
    "tech",
    "provider",
    "user",
    "billing",
    "legal",
    "irt",
    "abuse",
    "cc",
    "cc-irt",
    "leo",
    "vendor",
    "vendor-support",
    "victim",
    "victim-notified",
    "ext-value",
]

# 3.9, Contact: type
ContactType = Literal["person", "organization", "ext-value"]

# 3.9.1, RegistryHandle: registry
Registry = Literal["internic", "apnic", "arin", "lacnic", "ripe", "afrinic", "local", "ext-value"]

# 3.9.2, PostalAddress: type
PostalAddressType = Literal["street", "mailing", "ext-value"]

# 3.9.3, Email: type
EmailType = Literal["direct", "hotline", "ext-value"]

# 3.9.4, Telephone: type
TelephoneType = Literal["wired", "mobile", "fax", "hotline", "ext-value"]

# 3.10, Discovery: source
DiscoverySource = Literal[
    "nidps",
    "hips",
    "siem",
    "av",
    "third-party-monitoring",
    "incident",
    "os-log",
    "application-log",
    "device-log",
    "network-flow",
    "passive-dns",
    "investigation",
    "audit",
    "internal-notification",
    "external-notification",
    "leo",
    "partner",
    "actor",
    "unknown",
    "ext-value",
]

# 3.12, Assessment: occurrence
Occurrence = Literal["actual", "potential"]

# 3.12.1, SystemImpact, TimeImpact, MonetaryImpact (3.12.1, 3.12.3, 3.12.4) and Expectation (3.15): severity
Severity = Literal["low", "medium", "high"]

# 3.12.1, SystemImpact: completion
Completion = Literal["failed", "succeeded"]

# 3.12.1, SystemImpact: type
SystemImpactType = Literal[
    "takeover-account",
    "takeover-service",
    "takeover-system",
    "cps-manipulation",
    "cps-damage",
    "availability-data",
    "availability-account",
    "availability-service",
    "availability-system",
    "damaged-system",
    "damaged-data",
    "breach-proprietary",
    "breach-privacy",
    "breach-credential",
    "breach-configuration",
    "integrity-data",
    "integrity-configuration",
    "integrity-hardware",
    "traffic-redirection",
    "monitoring-traffic",
    "monitoring-host",
    "policy",
    "unknown",
    "ext-value",
]

# 3.12.2, BusinessImpact: severity
BusinessSeverity = Literal["none", "low", "medium", "high", "unknown", "ext-value"]

# 3.12.2, BusinessImpact: type
BusinessImpactType = Literal[
    "breach-proprietary",
    "breach-privacy",
    "breach-credential",
    "loss-of-integrity",
    "loss-of-service",
    "theft-financial",
    "theft-service",
    "degraded-reputation",
    "asset-damage",
    "asset-manipulation",
    "legal",
    "extortion",
    "unknown",
    "ext-value",
]

# 3.12.3, TimeImpact: metric
TimeImpactMetric = Literal["labor", "elapsed", "downtime", "ext-value"]

# 3.12.3, TimeImpact and Counter (3.18.3): duration
Duration = Literal["second", "minute", "hour", "day", "month", "quarter", "year", "ext-value"]

# 3.12.5, Confidence: rating
ConfidenceRating = Literal["low", "medium", "high", "numeric", "unknown", "ext-value"]

# 3.15, Expectation and HistoryItem (3.13.1): action
Action = Literal[
    "nothing",
    "contact-source-site",
    "contact-target-site",
    "contact-sender",
    "investigate",
    "block-host",
    "block-network",
    "block-port",
    "rate-limit-host",
    "rate-limit-network",
    "rate-limit-port",
    "redirect-traffic",
    "honeypot",
    "upgrade-software",
    "rebuild-asset",
    "harden-asset",
    "remediate-other",
    "status-triage",
    "status-new-info",
    "watch-and-report",
    "training",
    "defined-coa",
    "other",
    "ext-value",
]
