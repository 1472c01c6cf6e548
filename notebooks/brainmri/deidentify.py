"""Taking out of DICOM files what says whose they are, and looking afterwards whether it is gone.

What is done to which attribute follows the Basic Application Level Confidentiality Profile (DICOM PS3.15, table E.1-1):
its main attributes by name, and by kind every person's name, date and time, every private element, overlay and UID.
This cannot see what is written into pixels, nor take a face out of a scan of a head; the report says so.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from brainmri import __version__, dicom
from brainmri.data import DataError
from brainmri.runs import write_whole
from brainmri.store import new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Attributes that are emptied, since a file without them is no valid one, and those that are taken out.
EMPTIED = """
AccessionNumber ContentDate ContentTime ContrastBolusAgent PatientBirthDate PatientSex ReferringPhysicianName
StudyDate StudyID StudyTime
"""
REMOVED = """
AcquisitionComments AcquisitionProtocolDescription ActualHumanPerformersSequence AdditionalPatientHistory AdmissionID
AdmittingDiagnosesCodeSequence AdmittingDiagnosesDescription Allergies AuthorObserverSequence BranchOfService
CassetteID ClinicalTrialProtocolID ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSponsorName
ClinicalTrialSubjectID ClinicalTrialSubjectReadingID CommentsOnThePerformedProcedureStep
ConfidentialityConstraintOnPatientDataDescription ContributingEquipmentSequence ContributionDescription
CountryOfResidence CurrentPatientLocation CustodialOrganizationSequence DataSetTrailingPadding DerivationDescription
DetectorID DeviceSerialNumber DeviceUID DigitalSignaturesSequence DischargeDiagnosisDescription EthnicGroup
FillerOrderNumberImagingServiceRequest FrameComments GantryID GeneratorID HumanPerformerName
HumanPerformerOrganization IconImageSequence IdentifyingComments ImageComments ImagePresentationComments
ImagingServiceRequestComments InstanceCreatorUID InstitutionAddress InstitutionCodeSequence InstitutionName
InstitutionalDepartmentName InstitutionalDepartmentTypeCodeSequence InsurancePlanIdentification IssuerOfAdmissionID
IssuerOfPatientID IssuerOfServiceEpisodeID MedicalAlerts MedicalRecordLocator MilitaryRank ModifiedAttributesSequence
ModifiedImageDescription Occupation OperatorIdentificationSequence OrderCallbackPhoneNumber OrderEnteredBy
OrderEntererLocation OriginalAttributesSequence OtherPatientIDs OtherPatientIDsSequence ParticipantSequence
PatientAddress PatientAge PatientBirthName PatientComments PatientInstitutionResidence
PatientInsurancePlanCodeSequence PatientPrimaryLanguageCodeSequence PatientReligiousPreference PatientSize
PatientState PatientTelecomInformation PatientTelephoneNumbers PatientTransportArrangements PatientWeight
PerformedLocation PerformedProcedureStepDescription PerformedProcedureStepID PerformedStationAETitle
PerformedStationName PerformingPhysicianIdentificationSequence PersonAddress PersonIdentificationCodeSequence
PersonTelephoneNumbers PhysiciansOfRecordIdentificationSequence PhysiciansReadingStudyIdentificationSequence
PlacerOrderNumberImagingServiceRequest PlateID PreMedication PregnancyStatus ProtocolName ReasonForStudy
ReasonForTheImagingServiceRequest ReferencedPatientAliasSequence ReferencedPatientSequence
ReferencedPerformedProcedureStepSequence ReferencedStudySequence ReferringPhysicianAddress
ReferringPhysicianIdentificationSequence ReferringPhysicianTelephoneNumbers RegionOfResidence
RequestAttributesSequence RequestedProcedureComments RequestedProcedureDescription RequestedProcedureID
RequestedProcedureLocation RequestingService ResponsibleOrganization ResultsComments ResultsID
ScheduledHumanPerformersSequence ScheduledProcedureStepDescription
ScheduledProcedureStepID ScheduledProcedureStepLocation ScheduledStationAETitle ScheduledStationName SeriesDescription
ServiceEpisodeDescription ServiceEpisodeID SmokingStatus SpecialNeeds StationName StudyComments StudyDescription
TextComments TextString TimezoneOffsetFromUTC TopicAuthor TopicKeywords TopicSubject TopicTitle UniqueDeviceIdentifier
VerifyingOrganization VisitComments
"""
NAMES, DATES = {"PN"}, {"DA", "TM", "DT"}
PATIENT = ("PatientName", "PatientID")
# Whose values are looked for everywhere else.
TELLING = {
    "AccessionNumber",
    "MedicalRecordLocator",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientBirthDate",
    "PatientTelephoneNumbers",
}
TEXT = {"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}
SHORTEST = 3  # letters of a name or number that is looked for
EMPTY, GONE = frozenset(EMPTIED.split()), frozenset(REMOVED.split())
WELL_KNOWN = "1.2.840.10008."  # the standard's own UIDs name classes, not images
DRAWN_OVER = "Text may be written into the pixels of"
FACE = "A scan of a head shows a face: whoever has it can draw it. Strip the skull before you pass it on."


@dataclass
class Report:
    """What was taken out of how many files: never the values, only the attributes' names."""

    files: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)
    private: int = 0
    uids: int = 0
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For files and programs."""
        return {
            "files": self.files,
            "removed": dict(sorted(self.removed.items())),
            "emptied": dict(sorted(self.emptied.items())),
            "private_elements_removed": self.private,
            "uids_replaced": self.uids,
            "warnings": self.warnings,
            "by": _method(),
        }


@dataclass(frozen=True)
class Pseudonyms:
    """Patients and UIDs under other names: the same one always under the same, as long as the secret is the same."""

    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    patient: str = ""

    def name(self, patient_id: str) -> str:
        """A patient's."""
        digest = hashlib.sha256(f"{self.secret}/{patient_id}".encode()).hexdigest()[:8]
        return self.patient or f"anonymous-{digest}"

    def uid(self, uid: str) -> str:
        """A UID's."""
        from pydicom.uid import generate_uid

        return uid if uid.startswith(WELL_KNOWN) else str(generate_uid(entropy_srcs=[self.secret, uid]))


def deidentify(
    folder: Path,
    target: Path,
    *,
    patient: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write every DICOM image below `folder` without what says whose it is, as target/SERIES/N.dcm.

    File names are new, too. References between files hold, since each UID becomes the same other one; which, is not
    stored. `patient` is the new name where all files are of one patient. The folder appears when every file was looked
    through again and nothing was found. Raises DataError naming file and attribute otherwise.
    """
    pseudonyms, report = Pseudonyms(patient=patient), Report()
    found = dicom.series(folder)
    paths = [(number, path) for number, one in enumerate(found, start=1) for path in one.files]
    identities = {str(dicom.opened(path).get("PatientID", "")) for _, path in paths} if patient else set()
    if len(identities) > 1:
        raise DataError(f"{folder} holds {len(identities)} patients: one name for all of them would mix them up.")
    with new_folder(target) as unfinished:
        for done, (number, path) in enumerate(paths, start=1):
            data = dicom.opened(path)
            if not data.get("SOPClassUID") or not data.get("SOPInstanceUID"):
                raise DataError(f"{path} does not say which kind of object it is (SOP class). Leave it out.")
            told = clean(data, pseudonyms, report)
            report.warnings += [said for said in _warnings(data, number) if said not in report.warnings]
            out = unfinished / f"series-{number:03d}" / f"{done:05d}.dcm"
            out.parent.mkdir(exist_ok=True)
            data.save_as(out, enforce_file_format=True)
            left = found_again(dicom.opened(out), told)
            if left:
                raise DataError(f"{path}: {', '.join(left)} still says whose it is. Nothing was written: leave it out.")
            report.files += 1
            if on_progress:
                on_progress(done, len(paths))
        others = sum(path.is_file() for path in folder.rglob("*")) - len(paths)
        if others:
            report.warnings.append(f"{others} other files are no DICOM images and were left out.")
        report.warnings.append(FACE)
        write_whole(unfinished / "deidentified.json", json.dumps(report.as_json(), indent=2) + "\n")
    return report


def clean(data: Any, pseudonyms: Pseudonyms, report: Report) -> set[str]:
    """Change a data set in place; returns the values that were taken out, to be looked for."""
    from pydicom.dataset import FileMetaDataset

    name = pseudonyms.name(str(data.get("PatientID", "") or data.get("PatientName", "")))
    told = {word for keyword in PATIENT for word in _words(data.get(keyword, ""))}
    for keyword in PATIENT:  # at the top: they get the pseudonym
        if keyword in data:
            del data[keyword]
    _clean_level(data, pseudonyms, report, told)
    _take_out(data, found_again(data, told), report)
    data.PatientID = data.PatientName = name
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", _method()
    data.LongitudinalTemporalInformationModified = "REMOVED"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    data.file_meta, data.preamble = meta, b"\0" * 128
    return told


def _clean_level(data: Any, pseudonyms: Pseudonyms, report: Report, told: set[str]) -> None:
    for element in list(data):
        tag, keyword, kind = element.tag, element.keyword, element.VR
        if kind in NAMES or keyword in TELLING:
            told |= _words(element.value)
        if tag.is_private or tag.group & 0xFF00 in (0x5000, 0x6000):
            report.private += 1
            del data[tag]
        elif keyword in EMPTY:
            report.emptied[keyword] += 1
            element.value = None
        elif keyword in GONE or keyword in PATIENT or kind in NAMES | DATES:
            report.removed[keyword or str(tag)] += 1
            del data[tag]
        elif kind == "UI" and element.value:
            several = not isinstance(element.value, str)
            new = [pseudonyms.uid(str(uid)) for uid in (element.value if several else [element.value])]
            report.uids += sum(not uid.startswith(WELL_KNOWN) for uid in new)
            element.value = new if several else new[0]
        elif kind == "SQ":
            for item in element.value:
                _clean_level(item, pseudonyms, report, told)


def _take_out(data: Any, keywords: list[str], report: Report) -> None:
    """Remove what repeats a name or number that was taken out elsewhere, at every level."""
    for element in list(data):
        if (element.keyword or str(element.tag)) in keywords:
            report.removed[element.keyword or str(element.tag)] += 1
            del data[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _take_out(item, keywords, report)


def found_again(data: Any, told: set[str]) -> list[str]:
    """The attributes in which a name or number that was taken out still is, and private elements that are left."""
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in sorted(told)) or r"(?!)")
    left = []
    for element in _all(data):
        text = str(element.value).casefold() if element.VR in TEXT and element.value else ""
        if element.tag.is_private or pattern.search(text):
            left.append(element.keyword or str(element.tag))
    return sorted(set(left))


def came_back(folder: Path, originals: Path) -> list[str]:
    """Attributes of the DICOM files below a folder that hold a name, number or UID of the originals; none is good.

    For what was made of files that were de-identified. Raises DataError for a folder that is not there.
    """
    told: set[str] = set()
    uids: set[str] = set()
    for _, data in dicom.files(originals):
        for element in _all(data):
            if element.VR in NAMES or element.keyword in TELLING or element.keyword in PATIENT:
                told |= _words(element.value)
            elif element.VR == "UI" and not str(element.value).startswith(WELL_KNOWN):
                uids.add(str(element.value))
    left: set[str] = set()
    for _, data in dicom.files(folder):
        left |= set(found_again(data, told))
        left |= {element.keyword for element in _all(data) if element.VR == "UI" and str(element.value) in uids}
    return sorted(left)


def _all(data: Any) -> Iterator[Any]:
    for element in data:
        yield element
        for item in element.value if element.VR == "SQ" else ():
            yield from _all(item)


def _words(value: Any) -> set[str]:
    """What a value can be recognised by: itself, and the parts of a name."""
    text = str(value or "").casefold()
    parts = {text.strip(), *re.split(r"[\s^=,]+", text)}
    return {part for part in parts if len(part) >= SHORTEST}


def _warnings(data: Any, series: int) -> list[str]:
    burned = str(data.get("BurnedInAnnotation", "")).upper()
    kinds = [str(kind).upper() for kind in data.get("ImageType", None) or []]
    screenshot = "SECONDARY" in kinds[1:2] or str(data.get("Modality", "")) in {"SC", "OT", "US"}
    if burned == "YES" or (screenshot and burned != "NO"):
        return [f"{DRAWN_OVER} series {series}: its header says so, or it is a screenshot. Look at each image."]
    if burned != "NO":
        return [f"Whether text is written into the pixels of series {series} is not stated. Look at the images."]
    return []


def _method() -> str:
    return f"brainmri {__version__}: main attributes of PS3.15 E.1-1, private"
