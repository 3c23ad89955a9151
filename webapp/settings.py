"""Every setting of Kibitz, read from the environment and checked on the way in.

| variable | meaning | default |
|---|---|---|
| KIBITZ_HOME | the one directory of data | `.kibitz` in the checkout |
| KIBITZ_PORT | the web server's port | 8700 |
| DATABASE_URL | a PostgreSQL of your own | the embedded one |
| BROKER_URL | a Valkey or Redis of your own | the embedded one |
| KIBITZ_HOSTS | host names the site answers to, by comma | this machine's loopback names |
| KIBITZ_PRODUCTION | 1: HTTPS only, secure cookies, no default secret | 0 |
| KIBITZ_SECRET_KEY | the signing secret | made once, kept in KIBITZ_HOME |
| KIBITZ_SLOTS | runs trained at once by a worker | 2 |
| KIBITZ_ROBOTS | robots at work at once by a worker | 4 |
| KIBITZ_UPLOAD_MB | the largest import accepted, in MiB | 512 |
| KIBITZ_WEBHOOKS_PRIVATE | 1: letters may go to loopback and private addresses | 0 |
| KIBITZ_DEBUG | 1: Django's debug pages | 0 |
"""

import os
import secrets
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import plotly
from django.core.exceptions import ImproperlyConfigured

from webapp import embedded

BASE_DIR = Path(__file__).resolve().parent.parent


def flag(name: str) -> bool:
    value = os.environ.get(name, "0")
    if value not in ("0", "1"):
        raise ImproperlyConfigured(f"{name} is {value!r}; expected 0 or 1.")
    return value == "1"


def number(name: str, default: int, low: int, high: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or not low <= int(value) <= high:
        raise ImproperlyConfigured(f"{name} is {value!r}; expected a whole number from {low} to {high}.")
    return int(value)


def database(url: str) -> dict:
    """A Django database from `postgresql://user:password@host:port/name?option=value`."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/"):
        raise ImproperlyConfigured(
            f"DATABASE_URL is {url!r}; expected postgresql://user:password@host:port/name (Kibitz runs on PostgreSQL)."
        )
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.strip("/"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": options.pop("port", None) or parts.port or "",
        "OPTIONS": {
            **options,
            "pool": {"min_size": 1, "max_size": 24, "timeout": 20, "max_lifetime": 600},
            "prepare_threshold": 1,  # for cursors that send values apart, as the queue's do
            # Planned once, not once for each set of values: planning a claim takes three times as long as running it.
            "options": f"{options.get('options', '')} -c plan_cache_mode=force_generic_plan".strip(),
        },
    }


def secret_key(home: Path) -> str:
    if given := os.environ.get("KIBITZ_SECRET_KEY"):
        return given
    if PRODUCTION:
        raise ImproperlyConfigured(
            "KIBITZ_PRODUCTION is 1 but KIBITZ_SECRET_KEY is not set; give it 50 random characters."
        )
    kept = home / "secret_key"
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(50))
    return kept.read_text()


DEBUG = flag("KIBITZ_DEBUG")
PRODUCTION = flag("KIBITZ_PRODUCTION")
KIBITZ_WEBHOOKS_PRIVATE = flag("KIBITZ_WEBHOOKS_PRIVATE")
KIBITZ_HOME = embedded.home()
KIBITZ_PORT = number("KIBITZ_PORT", 8700, 1, 65535)
KIBITZ_SLOTS = number("KIBITZ_SLOTS", 2, 1, 256)
KIBITZ_ROBOTS = number("KIBITZ_ROBOTS", 4, 1, 256)
KIBITZ_UPLOAD_BYTES = number("KIBITZ_UPLOAD_MB", 512, 1, 1_000_000) * 2**20
SNAPSHOTS = KIBITZ_HOME / "snapshots"
RUNS = KIBITZ_HOME / "runs"
MODELS = KIBITZ_HOME / "models"
EPISODES = KIBITZ_HOME / "episodes"
UPLOADS = KIBITZ_HOME / "uploads"

SECRET_KEY = secret_key(KIBITZ_HOME)
ALLOWED_HOSTS = [
    host for host in os.environ.get("KIBITZ_HOSTS", "localhost,127.0.0.1,[::1]").split(",") if host
]
CSRF_TRUSTED_ORIGINS = [f"https://{host}" for host in ALLOWED_HOSTS] if PRODUCTION else []

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "ninja",
    "webapp",
    "webapp.accounts",
    "annotation",
    "webapp.runs",
    "webapp.robots",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "webapp.static_files.compress_static",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "webapp" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

ROOT_URLCONF = "webapp.urls"
ASGI_APPLICATION = "webapp.asgi.application"

database_url = os.environ.get("DATABASE_URL") or embedded.postgres_url()
if not database_url:
    raise ImproperlyConfigured(
        f"No database: DATABASE_URL is not set, and no embedded PostgreSQL is running in {KIBITZ_HOME}. "
        "Start Kibitz with `make run`, or say `manage.py COMMAND`, which starts one for the command."
    )
DATABASES = {"default": database(database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "accounts:login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "accounts:login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# Static files are served as written, straight from the checkout and from the wheels: no build, no collecting.
STATIC_URL = "/static/"
STATICFILES_DIRS = [
    BASE_DIR / "static",
    ("vendor/plotly", Path(plotly.__file__).parent / "package_data"),
]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", "'unsafe-inline'"],  # Plotly sizes its plots by style attributes
        "img-src": ["'self'", "data:", "blob:"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    },
}
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20

if PRODUCTION:
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# Messages may be lost and tasks sent twice: queued and running are facts in PostgreSQL, and every task checks them.
CELERY_BROKER_URL = os.environ.get("BROKER_URL") or embedded.valkey_url()
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "jobs"
CELERY_TASK_ROUTES = {"trainers.*": {"queue": "cpu"}}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 10, "socket_connect_timeout": 2, "max_retries": 1}
CELERY_TASK_PUBLISH_RETRY = False

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {name: {"level": "INFO"} for name in ("annotation", "trainers", "webapp", "celery")},
}
