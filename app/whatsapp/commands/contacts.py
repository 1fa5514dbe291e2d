"""Who wrote: the contact behind an inbound message, found for many messages at once.

WhatsApp gave people new ids in 2026: whoever was known by the number stays the same contact under the new id.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, or_, select
from sqlalchemy.orm import joinedload

from app.kit.db import db, new_id
from app.whatsapp.models import BOT, Contact

NAME_LENGTH = 200

_LOCK = (
    select(Contact)
    .where(Contact.id.in_(bindparam("ids", expanding=True)))
    .options(joinedload(Contact.channel, innerjoin=True))
    .order_by(Contact.id)
    .with_for_update(key_share=True, of=Contact)
    .execution_options(populate_existing=True)
)
"""Made once, as those of app.whatsapp.queries."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """What a provider says of somebody on a channel.

    identities: user ids, the strongest first. phone: E.164. known_by_phone: whether the number tells who it is.
    """

    channel_id: str
    identities: tuple[str, ...]
    phone: str | None
    name: str = ""
    known_by_phone: bool = True


class Directory:
    """The contacts that some people may be, read with one query."""

    def __init__(self, people: Collection[Person]) -> None:
        self._by_user: dict[tuple[str, str], Contact] = {}
        self._by_phone: dict[tuple[str, str], Contact] = {}
        self._changes: dict[str, tuple[Contact, dict[str, Any]]] = {}
        if not people:
            return
        for row in db.session.scalars(select(Contact).where(or_(*_known_by(people))).order_by(Contact.id)):
            self._by_user[row.channel_id, row.user_id] = row
            if row.phone:
                self._by_phone.setdefault((row.channel_id, row.phone), row)

    def contact_of(self, person: Person) -> Contact:
        """The contact known by one of the person's ids or by their phone; a new one, not flushed yet, otherwise."""
        keys = [(person.channel_id, identity) for identity in person.identities]
        contact = next((self._by_user[key] for key in keys if key in self._by_user), None)
        if contact is None and person.phone and person.known_by_phone:
            contact = self._by_phone.get((person.channel_id, person.phone))
        name = person.name[:NAME_LENGTH]
        if contact is None:
            contact = Contact(
                id=new_id(),
                channel_id=person.channel_id,
                user_id=person.identities[0],
                phone=person.phone,
                name=name,
                mode=BOT,
            )
            db.session.add(contact)
        else:
            told: dict[str, Any] = {}
            if keys[0] not in self._by_user:
                told["user_id"] = person.identities[0]
            if person.phone:
                told["phone"] = person.phone
            if name:
                told["name"] = name
            self._note(contact, told)
        self._by_user[keys[0]] = contact
        if person.phone:
            self._by_phone.setdefault((person.channel_id, person.phone), contact)
        return contact

    def _note(self, contact: Contact, told: dict[str, Any]) -> None:
        _, known = self._changes.get(contact.id, (contact, {}))
        now = {name: known.get(name, getattr(contact, name)) for name in told}
        new = {name: value for name, value in told.items() if value != now[name]}
        if new:
            self._changes[contact.id] = (contact, {**known, **new})

    @property
    def changed(self) -> list[str]:
        """Ids of contacts of whom something new was told; lock them before apply()."""
        return list(self._changes)

    def apply(self) -> None:
        """Take over what was told."""
        for contact, values in self._changes.values():
            for name, value in values.items():
                setattr(contact, name, value)
        self._changes.clear()


def _known_by(people: Collection[Person]) -> list[Any]:
    where = []
    for channel_id in sorted({person.channel_id for person in people}):
        here = [person for person in people if person.channel_id == channel_id]
        identities = sorted({identity for person in here for identity in person.identities})
        phones = sorted({person.phone for person in here if person.phone and person.known_by_phone})
        known = [Contact.user_id.in_(identities)]
        if phones:
            known.append(Contact.phone.in_(phones))
        where.append(and_(Contact.channel_id == channel_id, or_(*known)))
    return where


def contact_for(channel_id: str, identities: tuple[str, ...], phone: str | None, name: str) -> Contact:
    """The contact that a person on a channel is; a new one when nobody knows them."""
    person = Person(channel_id=channel_id, identities=identities, phone=phone, name=name)
    directory = Directory([person])
    contact = directory.contact_of(person)
    directory.apply()
    db.session.flush()
    return contact


def lock(contact_ids: Collection[str]) -> dict[str, Contact]:
    """These contacts by id, with their channels, locked until the transaction ends; unknown ids are left out.

    Always in the order of their ids, and contacts before anything else, so that no two transactions wait for each
    other. Inserting a message of a contact does not wait for this lock: ids never change.
    """
    if not contact_ids:
        return {}
    return {row.id: row for row in db.session.scalars(_LOCK, {"ids": list(contact_ids)})}
