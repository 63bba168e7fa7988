"""What a record tells, in words that a patient can read, in the two languages of the province."""

from collections.abc import Mapping
from typing import Final, Literal

from gateway.audit.record import Event, Outcome

Language = Literal["en", "fr"]

EVENTS: Final[Mapping[Event, tuple[str, str]]] = {
    Event.SEARCH: (
        "Looked for your examinations and saw them in a list",
        "A cherché vos examens et les a vus dans une liste",
    ),
    Event.RETRIEVE_BEGIN: ("Began to receive your images or reports", "A commencé à recevoir vos images ou rapports"),
    Event.RETRIEVE: ("Received your images or reports", "A reçu vos images ou rapports"),
    Event.METADATA: ("Saw the description of your examination", "A vu la description de votre examen"),
    Event.RENDERED: ("Saw your images or reports", "A vu vos images ou rapports"),
    Event.STORE: ("Added images or reports to your record", "A ajouté des images ou rapports à votre dossier"),
    Event.EXPORT: (
        "Had your images or reports sent to another organisation",
        "A fait envoyer vos images ou rapports à un autre organisme",
    ),
    Event.IMPORT: (
        "Brought in images or reports from another organisation",
        "A importé des images ou rapports d'un autre organisme",
    ),
    Event.DENIED: ("Tried to see your record", "A tenté de voir votre dossier"),
    Event.UNAUTHENTICATED: ("Tried to sign in", "A tenté de s'identifier"),
    Event.CONSENT: ("Your consent directive was applied", "Votre directive de consentement a été appliquée"),
    Event.DIRECTIVE: ("Your consent directive was changed", "Votre directive de consentement a été modifiée"),
    Event.OVERRIDE_START: (
        "Overrode your consent directive, for a limited time",
        "A outrepassé votre directive de consentement, pour une durée limitée",
    ),
    Event.OVERRIDE_END: (
        "The override of your consent directive ended",
        "La dérogation à votre directive de consentement a pris fin",
    ),
    Event.START: ("The gateway started", "La passerelle a démarré"),
    Event.STOP: ("The gateway stopped", "La passerelle s'est arrêtée"),
    Event.CONFIGURATION: ("The configuration was changed", "La configuration a été modifiée"),
    Event.LOG_READ: ("Read the record of who saw your record", "A lu le relevé des accès à votre dossier"),
    Event.CORRECTION: (
        "Worked on a request to correct your record",
        "A traité une demande de correction de votre dossier",
    ),
    Event.RETENTION: ("Old audit records were removed", "D'anciens relevés d'accès ont été supprimés"),
    Event.RECOVERY: ("The audit log was resumed", "Le journal des accès a repris"),
}

OUTCOMES: Final[Mapping[Outcome, tuple[str, str]]] = {
    Outcome.SUCCESS: ("Done", "Fait"),
    Outcome.PARTIAL: ("Done in part", "Fait en partie"),
    Outcome.DENIED: ("Refused", "Refusé"),
    Outcome.FAILURE: ("Failed", "Échoué"),
}

PURPOSES: Final[Mapping[str, tuple[str, str]]] = {
    "TREAT": ("Care", "Soins"),
    "ETREAT": ("Emergency care", "Soins d'urgence"),
    "BTG": ("Emergency override", "Dérogation d'urgence"),
    "HOPERAT": ("Running of health care", "Gestion des soins"),
    "PATRQT": ("Requested by the patient", "Demandé par le patient"),
    "HRESCH": ("Research", "Recherche"),
    "HPAYMT": ("Payment", "Paiement"),
    "SUPNWK": ("Requested by a family member or representative", "Demandé par un proche ou un représentant"),
}

CHANNELS: Final[Mapping[str, tuple[str, str]]] = {
    "web": ("Web viewer or application", "Visualiseur ou application Web"),
    "dimse": ("Imaging system (PACS)", "Système d'imagerie (PACS)"),
    "cli": ("Administrator's command", "Commande de l'administrateur"),
    "": ("The gateway itself", "La passerelle"),
}

COLUMNS: Final = (
    ("When (UTC)", "Quand (UTC)"),
    ("Who", "Qui"),
    ("For which organisation", "Pour quel organisme"),
    ("What was done", "Ce qui a été fait"),
    ("Outcome", "Résultat"),
    ("Purpose", "Motif"),
    ("Examinations", "Examens"),
    ("Instances", "Instances"),
    ("Sent to", "Envoyé à"),
    ("How", "Comment"),
    ("From", "Depuis"),
    ("Remark", "Remarque"),
    ("Record", "Relevé"),
)

TITLE: Final = ("Who has seen this record", "Qui a vu ce dossier")
NOBODY: Final = ("Nobody has seen this record in this time.", "Personne n'a vu ce dossier durant cette période.")
ABOUT: Final = (
    "Every search that showed this patient, all that was received, every attempt that was refused; the newest first.",
    "Chaque recherche qui a montré ce patient, tout envoi, chaque tentative refusée; du plus récent au plus ancien.",
)
IDENTIFIERS: Final = ("Identifiers of the patient", "Identifiants du patient")
COUNT: Final = ("Number of events", "Nombre d'événements")
UNKNOWN: Final = ("not known", "inconnu")


def said(words: tuple[str, str], language: Language) -> str:
    """Return the words in a language."""
    return words[language == "fr"]
