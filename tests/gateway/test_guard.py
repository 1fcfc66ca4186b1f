import httpx2
import pytest

from pumasi.broker import Broker
from pumasi.errors import BadSetting
from pumasi.gateway.app import Gateway, create_app
from pumasi.scripts.base import Repository
from pumasi.scripts.local import LocalRepository
from tests.gateway.conftest import TOKEN

EVERYTHING = (
    "/v1/jobs", "/v1/jobs/x", "/v1/jobs/x/logs", "/v1/events", "/v1/jobs/x/artifacts", "/v1/scripts", "/v1/workers",
    "/v1/queues", "/v1/stats", "/readyz", "/metrics", "/nothing",
)  # fmt: skip


@pytest.fixture
def repository(scripts: object) -> Repository:
    return LocalRepository(scripts)  # type: ignore[arg-type]


def client(app: Gateway, base: str = "http://localhost", **headers: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=base, headers=headers)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", TOKEN, "Bearer é"]
)
async def test_nothing_is_told_without_the_token(app: Gateway, header: str | None) -> None:
    async with client(app) as nobody:
        for path in EVERYTHING:
            headers = {} if header is None else {"Authorization": header.encode()}
            answer = await nobody.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["error"] == "Denied"
            assert TOKEN not in answer.text
        assert (await nobody.post("/v1/jobs", json={"script": "catalogue"})).status_code == 401


async def test_the_health_check_and_the_description_are_open(app: Gateway) -> None:
    async with client(app) as nobody:
        for path in ("/healthz", "/docs", "/openapi.json"):
            assert (await nobody.get(path)).status_code == 200


async def test_the_token_is_taken_whatever_the_case_of_bearer(app: Gateway) -> None:
    async with client(app, Authorization=f"bearer {TOKEN}") as somebody:
        assert (await somebody.get("/v1/jobs")).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::1", "localhost:80:80"])
async def test_a_name_that_is_not_ours_is_refused(app: Gateway, host: str) -> None:
    async with client(app, Authorization=f"Bearer {TOKEN}", Host=host) as rebound:
        answer = await rebound.get("/v1/jobs")
        assert answer.status_code == 421
        assert "PUMASI_URL" in answer.json()["message"]
        assert (await rebound.get("/healthz")).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "127.8.8.8"])
async def test_the_names_of_this_machine_are_ours(app: Gateway, host: str) -> None:
    async with client(app, Authorization=f"Bearer {TOKEN}", Host=host) as caller:
        assert (await caller.get("/v1/jobs")).status_code == 200


async def test_a_gateway_for_others_goes_by_its_addresses_and_its_name(broker: Broker, repository: Repository) -> None:
    app = create_app(broker, repository, token=TOKEN, host="0.0.0.0", hosts=["gateway"])
    for host, status in (("gateway:8000", 200), ("10.0.0.1:8000", 200), ("evil.example", 421)):
        async with client(app, Authorization=f"Bearer {TOKEN}", Host=host) as caller:
            assert (await caller.get("/v1/jobs")).status_code == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://[", ""])
async def test_a_page_of_somebody_else_is_refused(app: Gateway, origin: str) -> None:
    async with client(app, Authorization=f"Bearer {TOKEN}", Origin=origin) as page:
        assert (await page.post("/v1/jobs", json={"script": "catalogue"})).status_code == 403


async def test_a_page_of_the_gateway_may_ask(app: Gateway) -> None:
    async with client(
        app, "http://localhost:8000", Authorization=f"Bearer {TOKEN}", Origin="http://localhost:8000"
    ) as page:
        assert (await page.post("/v1/jobs", json={"script": "catalogue"})).status_code == 201


async def test_open_access_needs_no_token_and_still_checks_host_and_origin(
    broker: Broker, repository: Repository
) -> None:
    app = create_app(broker, repository, token=None, open_access=True)
    async with client(app) as anybody:
        assert (await anybody.get("/v1/jobs")).status_code == 200
        assert (await anybody.get("/v1/jobs", headers={"Host": "evil.example"})).status_code == 421
        assert (await anybody.get("/v1/jobs", headers={"Origin": "http://evil.example"})).status_code == 403


@pytest.mark.parametrize(
    "options",
    [
        {"token": None},
        {"token": None, "open_access": True, "host": "0.0.0.0"},
        {"token": None, "open_access": True, "host": "shop.example"},
        {"token": "short"},
        {"token": "with a space in it"},
        {"token": "비밀번호비밀번호"},
    ],
)
async def test_what_would_let_anybody_in_is_refused(
    broker: Broker, repository: Repository, options: dict[str, object]
) -> None:
    with pytest.raises(BadSetting):
        create_app(broker, repository, **options)  # type: ignore[arg-type]
