"""How a request to the API shows who is asking: a bearer token, or the browser's session."""

from django.contrib.auth import get_user_model
from ninja.security import HttpBearer, django_auth

from annotation import prepared
from webapp.accounts.models import digest_of

# One statement finds the owner and notes the use. The note is an hour coarse, so that a busy
# client does not write a row for each request.
OWNER_OF_TOKEN = """
WITH token AS (
    SELECT id, user_id, last_used_at FROM accounts_apitoken WHERE digest = %s AND revoked_at IS NULL
), noted AS (
    UPDATE accounts_apitoken SET last_used_at = now() FROM token
    WHERE accounts_apitoken.id = token.id
      AND (token.last_used_at IS NULL OR token.last_used_at < now() - interval '1 hour')
)
SELECT {} FROM accounts_user JOIN token ON token.user_id = accounts_user.id WHERE accounts_user.is_active
"""
KNOWN = ("id", "is_superuser", "username", "is_staff", "is_active", "simulated", "source")
"""What is known of the owner at once, in the model's order; whoever asks for more asks the database."""
STATEMENT = OWNER_OF_TOKEN.format(", ".join(f"accounts_user.{name}" for name in KNOWN))


class TokenAuth(HttpBearer):
    """`Authorization: Bearer kbz_…`; sets `request.user`, as a session would."""

    def authenticate(self, request, token):
        owners = prepared.rows(STATEMENT, [digest_of(token)])
        if not owners:
            return None
        request.user = get_user_model().from_db("default", KNOWN, owners[0])
        return request.user


api_auth = [TokenAuth(), django_auth]
