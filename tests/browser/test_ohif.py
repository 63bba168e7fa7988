"""What a clinician sees: OHIF in Chromium, over the gateway, over four regions."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.showing import Demo, Screen, chromium, demo, stranger


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with demo(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(province: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def tab(browser: BrowserContext, province: Demo) -> Screen:
    return Screen(browser.new_page(), province.url)


@pytest.fixture
def shown(tab: Screen) -> Iterator[Screen]:
    """One tab for all tests: a clinician does not load the viewer anew for each study either."""
    tab.leave()
    yield tab
    assert tab.complaints == []
    assert tab.foreign == []


def test_study_list_shows_the_whole_province(shown: Screen, province: Demo) -> None:
    shown.studies()
    shown.page.get_by_text("1-40 of 40").wait_for()
    assert shown.page.locator("#gateway-notice").count() == 0
    shown.shot("studies")


def test_patient_is_found_by_name_with_and_without_the_accent(shown: Screen, province: Demo) -> None:
    shown.studies()
    field = shown.page.locator("input").first
    for written in ("gagné", "gagne"):
        field.fill(written)
        shown.until(lambda: 0 < shown.rows.count() < 40, "a shorter list")
        shown.until(lambda: all("Gagné" in text for text in shown.rows.all_inner_texts()), "only the name asked for")
        field.fill("")
        shown.until(lambda: shown.rows.count() == 40, "the whole list")
    shown.shot("name")


@pytest.mark.parametrize("by", ["mrn", "accession", "modalities", "date"])
def test_studies_are_found_by_number_modality_and_date(shown: Screen, province: Demo, by: str) -> None:
    study = province.study("ct-volume")
    patient = province.truth.patient(study.patient)
    wanted = {
        "mrn": f"?mrn={patient.health_card_number}",
        "accession": f"?accession={quote(study.accession_numbers['NEODIN'])}",
        "modalities": "?modalities=MG",
        "date": f"?startDate={study.date}&endDate={study.date}",
    }[by]
    expected = {
        "mrn": sum(x.patient == study.patient for x in province.truth.studies),
        "accession": 1,
        "modalities": sum("MG" in {y.modality for y in x.series} for x in province.truth.studies),
        "date": sum(x.date == study.date for x in province.truth.studies),
    }[by]
    shown.studies(wanted)
    shown.until(lambda: shown.rows.count() == expected, f"a list of {expected}")


def test_ct_volume_scrolls_and_is_seen_from_three_sides(shown: Screen, province: Demo) -> None:
    study = province.study("ct-volume")
    shown.open(study)
    shown.pixels()
    shown.page.mouse.move(760, 420)
    shown.change(lambda: shown.page.mouse.wheel(0, 300), "another slice")
    shown.pixels()
    shown.shot("ct")
    shown.open(study, more="&hangingprotocolId=mpr")
    shown.pixels(canvases=3)
    shown.shot("mpr")


@pytest.mark.parametrize("purpose", ["copied", "us-multi-frame", "script", "mammography", "split-series", "deflated"])
def test_every_kind_of_picture_is_seen(shown: Screen, province: Demo, purpose: str) -> None:
    shown.open(province.study(purpose))
    shown.pixels()
    shown.shot(purpose)


def test_positron_emission_series_is_seen(shown: Screen, province: Demo) -> None:
    shown.open(province.study("pet"))
    shown.pixels()
    shown.change(lambda: shown.series("PET"), "another series")
    shown.pixels()
    shown.shot("pet")


def test_series_of_every_compression_are_seen(shown: Screen, province: Demo) -> None:
    study = province.study("codecs")
    shown.open(study)
    shown.pixels()
    shown.until(lambda: shown.entries().count() == len(study.series), "an entry of each series")
    for number in range(1, len(study.series)):
        shown.change(shown.entries().nth(number).dblclick, f"series {number}")
        shown.pixels()
    shown.shot("codecs")


def test_reports_are_read(shown: Screen, province: Demo) -> None:
    shown.open(province.study("report-elsewhere"))
    shown.pixels()
    shown.series("SR")
    shown.page.get_by_text("Impression", exact=False).first.wait_for()
    shown.shot("sr")
    with shown.page.expect_response(lambda answer: answer.url.endswith("/rendered")) as answered:
        shown.series("DOC")
    assert answered.value.headers["content-type"] == "application/pdf"
    shown.until(lambda: len(shown.page.frames) > 1, "the document")
    shown.page.wait_for_timeout(1500)
    shown.shot("pdf")


def test_launch_by_accession_opens_the_study(shown: Screen, province: Demo) -> None:
    study = province.study("ct-volume")
    number = study.accession_numbers["NEODIN"]
    shown.page.goto(f"{shown.url}/IHEInvokeImageDisplay?requestType=STUDY&accessionNumber={number}")
    assert shown.page.url == f"{shown.url}/viewer?StudyInstanceUIDs={study.study_instance_uid}"
    shown.pixels()


def test_launch_by_an_accession_of_two_patients_lets_the_reader_choose(shown: Screen, province: Demo) -> None:
    shown.page.goto(f"{shown.url}/IHEInvokeImageDisplay?requestType=STUDY&accessionNumber=1000001")
    links = shown.page.get_by_role("link", name="Open ")
    assert links.count() == 2
    shown.shot("choice")
    links.first.click()
    shown.pixels()


def test_missing_region_is_said_over_the_study_list_until_it_is_back(
    browser: BrowserContext, province: Demo, tmp_path: Path
) -> None:
    with province.without("HDIRS", tmp_path) as lacking, browser.new_page() as page:
        shown = Screen(page, lacking.url)
        shown.studies("?modalities=CT")
        notice = page.get_by_role("status").filter(has_text="HDIRS")
        notice.wait_for()
        assert "Hospital Diagnostic Imaging Repository Services" in notice.inner_text()
        shown.shot("notice")
        notice.get_by_role("button", name="Hide").click()
        page.get_by_role("button", name="1 region missing").wait_for()
        shown.shot("notice-hidden")
        with lacking.recovered():
            shown.studies("?modalities=MR")
            shown.until(lambda: not page.locator("#gateway-notice").is_visible(), "a page without a notice")
        assert (shown.complaints, shown.foreign) == ([], [])


def test_notice_is_in_french_for_who_reads_french(browser: BrowserContext, province: Demo, tmp_path: Path) -> None:
    with province.without("SWODIN", tmp_path) as lacking, browser.new_page() as page:
        page.add_init_script("Object.defineProperty(navigator, 'language', { get: () => 'fr-CA' })")
        french = Screen(page, lacking.url)
        page.goto(f"{french.url}/?modalities=DX")
        page.get_by_text("pas de réponse complète de").wait_for()
        french.shot("notice-fr")


def test_viewer_works_with_a_bearer_token_and_without_a_session(browser: BrowserContext, province: Demo) -> None:
    with stranger(browser, province.token) as page:
        bearing = Screen(page, province.url)
        bearing.studies("?modalities=MR")
        bearing.open(province.study("pet"))
        bearing.pixels()
        assert [cookie.get("name") for cookie in page.context.cookies()] == ["i18next"]  # the viewer's language
        assert bearing.foreign == []


def test_viewer_with_a_token_that_was_altered_gets_nothing(browser: BrowserContext, province: Demo) -> None:
    with stranger(browser, f"{province.token[:-4]}AAAA") as page:
        with page.expect_response(lambda answer: "/dicom-web/studies" in answer.url) as refused:
            page.goto(f"{province.url}/?modalities=CT")
        assert refused.value.status == 401


def test_home_page_is_used_by_keyboard_in_two_languages(browser: BrowserContext, province: Demo) -> None:
    page = browser.new_page()
    home = Screen(page, province.url)
    page.goto(f"{province.url}/home")
    heading = page.get_by_role("heading", level=1)
    assert "One archive" in heading.inner_text()
    assert page.get_by_role("row").count() == 5
    home.shot("home")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/home#content")
    page.get_by_role("link", name="Français").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", level=1, name="Une seule archive").wait_for()
    page.close()
    assert (home.complaints, home.foreign) == ([], [])
