"""The words of the status page, in English and French."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.ops.lights import Light, Reason

LANGUAGES: Final = ("en", "fr")

_PAIRS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "title": ("Status of the imaging gateway", "État de la passerelle d’imagerie"),
        "all_well": ("All regions answer", "Toutes les régions répondent"),
        "some_well": ("{good} of {all} regions answer", "{good} régions sur {all} répondent"),
        "to_mend": ("{count} with something to mend", "{count} avec quelque chose à corriger"),
        "none_asked": ("No region was asked yet", "Aucune région n’a encore été interrogée"),
        "not_ready": ("The gateway takes no requests", "La passerelle n’accepte aucune requête"),
        "ready": ("The gateway takes requests", "La passerelle accepte les requêtes"),
        "regions": ("Regions", "Régions"),
        "echo": ("Last C-ECHO", "Dernier C-ECHO"),
        "not_yet": ("not yet", "pas encore"),
        "failed": ("failed", "échec"),
        "first_match": ("First match", "Première réponse"),
        "half": ("half within {p50}, 95\u202f% within {p95}", "la moitié en {p50}, 95\u202f% en {p95}"),
        "spark": (
            "First match of the last {count} searches, from {least} to {most}",
            "Première réponse des {count} dernières recherches, de {least} à {most}",
        ),
        "no_search": ("no search in the last 15 minutes", "aucune recherche depuis 15 minutes"),
        "associations": ("Associations", "Associations"),
        "of_cap": ("{in_use} of {cap} in use", "{in_use} sur {cap} utilisées"),
        "queued": ("{waiting} waiting", "{waiting} en attente"),
        "no_associations": ("none: it speaks DICOMweb", "aucune : elle parle DICOMweb"),
        "breaker": ("Circuit breaker", "Disjoncteur"),
        "closed": ("closed: everything goes through", "fermé : tout passe"),
        "open": ("open, next probe in {seconds}", "ouvert, prochain essai dans {seconds}"),
        "open_due": ("open, the next operation probes it", "ouvert, la prochaine opération l’essaie"),
        "half-open": ("half open: a probe is under way", "entrouvert : un essai est en cours"),
        "certificate": ("TLS certificate", "Certificat TLS"),
        "no_tls": ("TLS is not used", "TLS n’est pas utilisé"),
        "tls_unseen": ("not seen yet", "pas encore vu"),
        "ends": ("ends {date}, in {days} days", "prend fin le {date}, dans {days} jours"),
        "ended": ("ended {date}", "a pris fin le {date}"),
        "destination": ("Move Destination", "Destination C-MOVE"),
        "no_destination": ("none: retrieved by C-GET", "aucune : récupération par C-GET"),
        "untried": ("{titles}: no C-MOVE yet", "{titles} : aucun C-MOVE encore"),
        "known": ("{titles}: known, C-MOVE {ago}", "{titles} : connue, C-MOVE {ago}"),
        "unknown": ("{titles}: refused with A801, {ago}", "{titles} : refusée par A801, {ago}"),
        "last_error": ("Last error", "Dernière erreur"),
        "over": ("over since", "passée depuis"),
        "what_to_do": ("What to do", "Que faire"),
        "flights": ("Retrieves under way", "Récupérations en cours"),
        "no_flights": ("None at the moment.", "Aucune en ce moment."),
        "since": ("Since", "Depuis"),
        "from": ("From", "De"),
        "readers": ("Readers", "Lecteurs"),
        "instances": ("Instances", "Instances"),
        "received": ("Received", "Reçu"),
        "planning": ("finding out who holds it", "recherche de qui la détient"),
        "background": ("nobody, ahead of need", "personne, par avance"),
        "storage": ("Spool and queue", "Tampon et file d’attente"),
        "spool": ("Spool", "Tampon"),
        "spool_full": ("there is no room on the disk", "le disque est plein"),
        "queue": ("Store queue", "File d’attente d’envoi"),
        "no_queue": (
            "there is none: what a region does not take is refused",
            "il n’y en a pas : ce qu’une région ne prend pas est refusé",
        ),
        "queue_waiting": (
            "{waiting} waiting, {quarantined} to be looked at",
            "{waiting} en attente, {quarantined} à examiner",
        ),
        "used": ("{size} of {most}", "{size} sur {most}"),
        "certificates": ("Our certificates", "Nos certificats"),
        "updated": ("As of {time} UTC", "État à {time} UTC"),
        "live": ("live", "en direct"),
        "stale": ("connection lost, trying again", "connexion perdue, nouvel essai"),
        "reload": ("Reload", "Actualiser"),
        "uptime": ("up for {time}", "en marche depuis {time}"),
        "skip": ("Skip to the regions", "Aller aux régions"),
        "ago": ("{time} ago", "il y a {time}"),
        "now": ("now", "à l’instant"),
        "service search": ("search", "recherche"),
        "service retrieve": ("retrieve", "récupération"),
        "service store": ("store", "envoi"),
        "service verify": ("C-ECHO", "C-ECHO"),
        **{
            f"light {colour}": words
            for colour, words in {
                Light.GREEN: ("Works", "Fonctionne"),
                Light.AMBER: ("Needs attention", "À surveiller"),
                Light.RED: ("Does not work", "Ne fonctionne pas"),
                Light.GREY: ("Not asked yet", "Pas encore interrogée"),
            }.items()
        },
        **{
            f"reason {reason}": words
            for reason, words in {
                Reason.LEFT_ALONE: (
                    "It failed five times in a row and is left alone until the next probe.",
                    "Cinq échecs de suite : elle est laissée en paix jusqu’au prochain essai.",
                ),
                Reason.ABSENT: (
                    "It did not answer the last time that it was asked.",
                    "Elle n’a pas répondu la dernière fois.",
                ),
                Reason.CERTIFICATE_ENDED: ("Its TLS certificate has ended.", "Son certificat TLS a pris fin."),
                Reason.UNKNOWN_DESTINATION: (
                    "It does not know our Move Destination.",
                    "Elle ne connaît pas notre destination C-MOVE.",
                ),
                Reason.FAILED: (
                    "Something went wrong in the last 5 minutes; it answers again.",
                    "Quelque chose a échoué depuis 5 minutes; elle répond de nouveau.",
                ),
                Reason.CERTIFICATE_ENDS: (
                    "Its TLS certificate ends in less than 21 days.",
                    "Son certificat TLS prend fin dans moins de 21 jours.",
                ),
                Reason.SLOW: (
                    "One search in twenty waits more than 4 s for its first match.",
                    "Une recherche sur vingt attend plus de 4 s sa première réponse.",
                ),
                Reason.CROWDED: (
                    "All associations are taken and operations wait.",
                    "Toutes les associations sont prises et des opérations attendent.",
                ),
                Reason.ANSWERS: ("It answers.", "Elle répond."),
                Reason.NOT_ASKED: ("Nobody has asked it since the start.", "Personne ne l’a interrogée."),
            }.items()
        },
    }
)


@dataclass(frozen=True, slots=True)
class Words:
    """Speaks one language."""

    language: str

    @property
    def french(self) -> bool:
        """Whether it is French."""
        return self.language == "fr"

    def __call__(self, key: str, **values: object) -> str:
        """Return a text with its values filled in."""
        return _PAIRS[key][self.french].format(**values)

    def number(self, value: float, digits: int = 0) -> str:
        """Write a number."""
        text = f"{value:,.{digits}f}"
        return text.replace(",", "\u202f").replace(".", ",") if self.french else text.replace(",", "\u202f")

    def duration(self, seconds: float) -> str:
        """Write a duration in the unit that a person would choose."""
        if seconds < 1:
            return f"{self.number(seconds * 1000, 1 if seconds < 0.01 else 0)}\u202fms"
        if seconds < 10:
            return f"{self.number(seconds, 1)}\u202fs"
        if seconds < 120:
            return f"{self.number(seconds)}\u202fs"
        minutes, hours = seconds / 60, seconds / 3600
        if minutes < 120:
            return f"{self.number(minutes)}\u202fmin"
        return f"{self.number(hours)}\u202fh" if hours < 48 else f"{self.number(hours / 24)}\u202f{self._days}"

    def ago(self, seconds: float) -> str:
        """Write how long ago something was."""
        if seconds < 1:
            return self("now")
        return self("ago", time=f"{int(seconds)}\u202fs" if seconds < 10 else self.duration(int(seconds)))

    def size(self, count: float) -> str:
        """Write a number of bytes."""
        unit = "o" if self.french else "B"
        for prefix in ("", "Ki", "Mi", "Gi"):
            if count < 1000:
                return f"{self.number(count, 1 if prefix and count < 10 else 0)}\u202f{prefix}{unit}"
            count /= 1024
        return f"{self.number(count, 1)}\u202fTi{unit}"

    @property
    def _days(self) -> str:
        return "jours" if self.french else "days"


def language(asked: str, accepted: str) -> str:
    """Choose the language that was asked for, else the first of Accept-Language that we speak (RFC 9110 12.5.4)."""
    if asked in LANGUAGES:
        return asked
    ranked = []
    for rank, member in enumerate(accepted.split(",")[:20]):
        tag, _, weight = member.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            quality = 0.0
        ranked.append((-quality, rank, tag.strip()[:2].lower()))
    return next((tag for quality, _, tag in sorted(ranked) if tag in LANGUAGES and quality < 0), LANGUAGES[0])
