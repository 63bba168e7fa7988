"""What an operator is told of a region's last failure, in English and French.

It names the region's own host, port and AE titles; what an error is to whoever gets it as an answer is on the page
of its slug, ``gateway.web.remedies``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from gateway.errors import Aborted, Closed, RemoteProtocolError, Reset, Truncated
from gateway.region.profile import Profile


@dataclass(frozen=True, slots=True)
class Advice:
    """What to say of an error.

    Attributes:
        what: is wrong.
        remedy: who should do what.
    """

    what: str
    remedy: str


_TEXTS: Final[Mapping[str, tuple[str, str, str, str]]] = MappingProxyType(
    {
        "refused": (
            "Nothing listens at {host}:{port}",
            "Ask its PACS team whether the archive is up, and whether it still listens there.",
            "Rien n’écoute à {host}:{port}",
            "Demandez à son équipe PACS si l’archive est en marche et si elle écoute toujours à cette adresse.",
        ),
        "unreachable": (
            "{host}:{port} does not answer",
            "Ask the network team about the route and the firewall between us and {host}.",
            "{host}:{port} ne répond pas",
            "Demandez à l’équipe réseau de vérifier la route et le pare-feu entre nous et {host}.",
        ),
        "unreachable name": (
            "The host name {host} cannot be looked up",
            "Check “host” in the region’s profile, or ask the network team about its DNS entry.",
            "Le nom d’hôte {host} est introuvable",
            "Vérifiez « host » dans le profil de la région, ou son entrée DNS avec l’équipe réseau.",
        ),
        "unreachable certificate": (
            "Its TLS certificate is not valid for {host}, has expired, or is of an authority that we do not trust",
            "Ask its PACS team for a valid certificate for {host}; “ca” in the profile names whom we trust.",
            "Son certificat TLS n’est pas valide pour {host}, a expiré, ou vient d’une autorité inconnue de nous",
            "Demandez à son équipe PACS un certificat valide pour {host}; « ca » dans le profil nomme l’autorité.",
        ),
        "unreachable tls": (
            "It does not agree on TLS with us",
            "Check with its PACS team whether the port speaks TLS 1.2 or newer, and whether it knows our certificate.",
            "Il n’y a pas d’accord TLS avec elle",
            "Vérifiez avec son équipe PACS que le port parle TLS 1.2 ou plus et qu’il connaît notre certificat.",
        ),
        "rejected 1/3": (
            "It refuses our Calling AE Title {ours}",
            "Ask its PACS team to add {ours} to the AE titles that may associate.",
            "Elle refuse notre titre AE appelant {ours}",
            "Demandez à son équipe PACS d’ajouter {ours} aux titres AE admis.",
        ),
        "rejected 1/7": (
            "It is not called {ae_title}",
            "Ask its PACS team for its AE title, and correct “ae_title” in the region’s profile.",
            "Elle ne s’appelle pas {ae_title}",
            "Demandez son titre AE à son équipe PACS et corrigez « ae_title » dans le profil de la région.",
        ),
        "rejected 3/0": (
            "It allows {ours} none of the services asked for",
            "Ask its PACS team to allow {ours} Study Root query and retrieve, and Verification.",
            "Elle ne permet à {ours} aucun des services demandés",
            "Demandez à son équipe PACS de permettre à {ours} la recherche Study Root et la vérification.",
        ),
        "rejected": (
            "It rejects our associations",
            "Ask its PACS team what its log says about {ours}.",
            "Elle rejette nos associations",
            "Demandez à son équipe PACS ce que son journal dit de {ours}.",
        ),
        "busy": (
            "It has no association to spare",
            "Ask its PACS team how many associations {ours} may hold, and set “max_associations” to that.",
            "Elle n’a plus d’association libre",
            "Demandez à son équipe PACS combien d’associations {ours} peut tenir; mettez-le dans « max_associations ».",
        ),
        "failed A801": (
            "It does not know our Move Destination {destinations}",
            "Ask its PACS team to enter {destinations} with our address and DIMSE port as a Move Destination.",
            "Elle ne connaît pas notre destination C-MOVE {destinations}",
            "Demandez à son équipe PACS d’inscrire {destinations} avec notre adresse et notre port DIMSE.",
        ),
        "failed A700": (
            "It is out of resources",
            "Ask its PACS team about its load and its disks.",
            "Elle manque de ressources",
            "Demandez à son équipe PACS de vérifier sa charge et ses disques.",
        ),
        "failed": (
            "It answered with a failure status {code}",
            "Ask its PACS team what its log says about that request of {ours}.",
            "Elle a répondu par un code d’échec {code}",
            "Demandez à son équipe PACS ce que son journal dit de cette requête de {ours}.",
        ),
        "timeout": (
            "It did not answer in time",
            "Ask its PACS team about its load; if it is always that slow, raise “search.soft_seconds”.",
            "Elle n’a pas répondu à temps",
            "Demandez à son équipe PACS de vérifier sa charge; si c’est habituel, augmentez « search.soft_seconds ».",
        ),
        "broken": (
            "The connection broke off ({outcome})",
            "Ask its PACS team what its log says about {ours}, and the network team about timeouts on the way.",
            "La connexion a été rompue ({outcome})",
            "Demandez à son équipe PACS ce que dit son journal de {ours}, et à l’équipe réseau les délais en chemin.",
        ),
        "incomplete": (
            "Instances that it counts did not arrive",
            "Ask its PACS team about failed sub-operations to {ours}; callers were told what is missing.",
            "Des instances annoncées ne sont pas arrivées",
            "Demandez à son équipe PACS les sous-opérations échouées vers {ours}; les appelants en sont avertis.",
        ),
        "loop": (
            "It is a gateway that has this one among its regions, directly or through others",
            "Decide with its operators which gateway asks which, and remove the other profile: here or there.",
            "C’est une passerelle dont celle-ci est une région, directement ou par d’autres",
            "Convenez avec ses exploitants de qui interroge qui et retirez l’autre profil, ici ou là-bas.",
        ),
        "saturated": (
            "All our associations with it are taken",
            "Agree on more with its PACS team and raise “max_associations” in its profile.",
            "Toutes nos associations avec elle sont prises",
            "Convenez d’un plus grand nombre avec son équipe PACS et augmentez « max_associations ».",
        ),
        "circuit-open": (
            "It failed repeatedly and is left alone for a while",
            "Nothing: it is tried again by itself. The error before this one says what to mend.",
            "Elle a échoué plusieurs fois et est laissée en paix un moment",
            "Rien : un nouvel essai se fait de lui-même. L’erreur précédente dit quoi corriger.",
        ),
        "other": (
            "An operation ended with “{outcome}”",
            "Look the request up in the log, by its request id.",
            "Une opération s’est terminée par « {outcome} »",
            "Cherchez la requête dans le journal, par son identifiant.",
        ),
    }
)
"""By slug, or slug and code: what is wrong and the remedy in English, the same in French."""

_BROKEN: Final = frozenset(error.slug for error in (Reset, Closed, Truncated, Aborted, RemoteProtocolError))
"""All of them mean that a connection ended before its time."""


def advice(outcome: str, code: str, profile: Profile, ae_title: str, *, french: bool = False) -> Advice:
    """Tell what an operation's outcome means for a region.

    Args:
        outcome: the slug of the error.
        code: its code, see ``GatewayError.code``.
        profile: of the region.
        ae_title: our Calling AE Title.
        french: in French.
    """
    texts = (
        _TEXTS.get(f"{outcome} {code}") or _TEXTS.get(outcome) or _TEXTS["broken" if outcome in _BROKEN else "other"]
    )
    named = {
        "host": profile.host,
        "port": profile.port,
        "ae_title": profile.ae_title,
        "ours": ae_title,
        "destinations": ", ".join(profile.move_destinations),
        "outcome": outcome,
        "code": code,
    }
    what, remedy = texts[2:] if french else texts[:2]
    return Advice(what.format(**named), remedy.format(**named))
