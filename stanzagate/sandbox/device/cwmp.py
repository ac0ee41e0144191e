"""A CWMP session as short as they get: Inform, InformResponse, empty POST, 204 (TR-069 §3.7.1.5, §3.7.2.4)."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import httpx

from component.base.errors import StanzagateError

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
CWMP = "urn:dslforum-org:cwmp-1-2"
CONN_REQ_JABBER_ID = "Device.ManagementServer.ConnReqJabberID"
REPLY_TIMEOUT = 30.0
"""Seconds that the ACS may take to answer (TR-069 §3.4.1 recommends 30)."""


class CwmpError(StanzagateError):
    """The ACS did not play its part."""


def split_id(id: str) -> tuple[str, str]:
    """OUI and serial number of the device `id`; the OUI is empty when there is no hyphen."""
    oui, hyphen, serial = id.partition("-")
    return (oui, serial) if hyphen else ("", id)


def inform(id: str, events: Iterable[str], parameters: Mapping[str, str], *, now: float, retries: int = 0) -> str:
    """The Inform of the device `id`.

    :param now: seconds since the epoch.
    """
    oui, serial = split_id(id)
    codes = [f"<EventStruct><EventCode>{event}</EventCode><CommandKey/></EventStruct>" for event in events]
    values = [
        f"<ParameterValueStruct><Name>{escape(name)}</Name>"
        f"<Value xsi:type='xsd:string'>{escape(value)}</Value></ParameterValueStruct>"
        for name, value in parameters.items()
    ]
    time = datetime.datetime.fromtimestamp(now, datetime.UTC).isoformat(timespec="seconds")
    return (
        f"<soap:Envelope xmlns:soap='{SOAP}' xmlns:enc='{ENCODING}' xmlns:cwmp='{CWMP}'"
        " xmlns:xsd='http://www.w3.org/2001/XMLSchema' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>"
        "<soap:Header><cwmp:ID soap:mustUnderstand='1'>1</cwmp:ID></soap:Header><soap:Body><cwmp:Inform>"
        f"<DeviceId><Manufacturer>Stanzagate</Manufacturer><OUI>{escape(oui)}</OUI>"
        f"<ProductClass>Reference</ProductClass><SerialNumber>{escape(serial)}</SerialNumber></DeviceId>"
        f"<Event enc:arrayType='cwmp:EventStruct[{len(codes)}]'>{''.join(codes)}</Event>"
        f"<MaxEnvelopes>1</MaxEnvelopes><CurrentTime>{time}</CurrentTime><RetryCount>{retries}</RetryCount>"
        f"<ParameterList enc:arrayType='cwmp:ParameterValueStruct[{len(values)}]'>{''.join(values)}</ParameterList>"
        "</cwmp:Inform></soap:Body></soap:Envelope>"
    )


def inform_response() -> str:
    """The ACS's answer to an Inform."""
    return (
        f"<soap:Envelope xmlns:soap='{SOAP}' xmlns:cwmp='{CWMP}'>"
        "<soap:Header><cwmp:ID soap:mustUnderstand='1'>1</cwmp:ID></soap:Header><soap:Body><cwmp:InformResponse>"
        "<MaxEnvelopes>1</MaxEnvelopes></cwmp:InformResponse></soap:Body></soap:Envelope>"
    )


def parse(text: str | bytes) -> ET.Element:
    """The one child of a SOAP body.

    :raises CwmpError: when it is not a SOAP envelope with such a child, or has a DOCTYPE.
    """
    parser = ET.XMLParser(target=_Builder())  # noqa: S314  the builder refuses the DOCTYPE that entities need
    try:
        parser.feed(text)
        envelope = parser.close()
    except ET.ParseError as error:
        raise CwmpError(f"It is not XML: {error}.") from None
    body = envelope.find(f"{{{SOAP}}}Body")
    if envelope.tag != f"{{{SOAP}}}Envelope" or body is None or len(body) != 1:
        raise CwmpError("It is not a SOAP envelope with one element in its body.")
    return body[0]


async def session(url: str, message: str, *, context: ssl.SSLContext) -> None:
    """Hold one session with the ACS at `url`: send the Inform `message`, say that there is nothing more, and end.

    Requests of the ACS are answered with the fault 9000 (method not supported).

    :param context: verifies an ACS with an https address.
    :raises CwmpError: when the ACS cannot be reached or answers something else.
    """
    headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": ""}
    try:
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=REPLY_TIMEOUT) as http:
            reply = await http.post(url, content=message.encode(), headers=headers)
            if reply.status_code != 200 or parse(reply.content).tag != f"{{{CWMP}}}InformResponse":
                raise CwmpError(f"{url} answered an Inform with {reply.status_code} and no InformResponse.")
            reply = await http.post(url, content=b"", timeout=None)  # the ACS may hold the session for long
            while reply.status_code == 200 and reply.content:
                reply = await http.post(url, content=_fault().encode(), headers=headers)
    except httpx.HTTPError as error:
        raise CwmpError(f"{url}: {str(error) or type(error).__name__}.") from None
    if reply.status_code not in {200, 204}:
        raise CwmpError(f"{url} ended a session with {reply.status_code}.")


def _fault() -> str:
    return (
        f"<soap:Envelope xmlns:soap='{SOAP}' xmlns:cwmp='{CWMP}'><soap:Body><soap:Fault>"
        "<faultcode>Client</faultcode><faultstring>CWMP fault</faultstring><detail><cwmp:Fault>"
        "<FaultCode>9000</FaultCode><FaultString>Method not supported</FaultString></cwmp:Fault></detail>"
        "</soap:Fault></soap:Body></soap:Envelope>"
    )


class _Builder(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise CwmpError("It has a DOCTYPE.")
