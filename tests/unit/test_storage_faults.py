"""What obstore's exceptions become. The texts have the shape that obstore 0.12 gives them."""

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError, UnauthenticatedError

from jupyter_scheduler_k8s import errors
from jupyter_scheduler_k8s.storage.faults import Place, explain

PLACE = Place(bucket="files", endpoint="http://s3.example:9000", credentials="the AWS SSO login")
PLANTED = ("PLANTEDKEY", "PLANTEDSIGNATURE", "X-Amz-Signature", "AWS4-HMAC", "planted body")


def answer(status: str, body: str) -> str:
    return (
        "Generic S3 error: Error performing PUT "
        "http://s3.example:9000/files/x?X-Amz-Signature=PLANTEDSIGNATURE in 1ms - "
        f'Server returned non-2xx status code: {status}: <?xml version="1.0"?>\n{body}\n\n'
        "Debug source:\nGeneric { source: RetryError( RetryErrorImpl { max_retries: 10 } ) }"
    )


def s3_error(status: str, code: str) -> str:
    return answer(
        status,
        f"<Error><Code>{code}</Code><Message>planted body</Message>"
        "<AWSAccessKeyId>PLANTEDKEY</AWSAccessKeyId><StringToSign>AWS4-HMAC-SHA256</StringToSign>"
        "</Error>",
    )


def no_answer(kind: str, source: str) -> str:
    return (
        "Generic S3 error: Error performing PUT http://s3.example:9000/files/x in 1s, after 3 "
        "retries - HTTP error: error sending request\n\nDebug source:\nGeneric { source: "
        f"RetryError( RetryErrorImpl {{ inner: Http( HttpError {{ kind: {kind}, {source} }} ) }} )"
    )


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (FileNotFoundError(s3_error("404 Not Found", "NoSuchBucket")), errors.BucketMissing,
         "There is no bucket 'files' at http://s3.example:9000; set S3_BUCKET to one that exists, "
         "or create it."),
        (FileNotFoundError(s3_error("404 Not Found", "NoSuchKey")), errors.ObjectMissing,
         "S3 can't store 'x': there is no such object."),
        (PermissionDeniedError(s3_error("403 Forbidden", "SignatureDoesNotMatch")),
         errors.StorageDenied,
         "S3 at http://s3.example:9000 doesn't accept the credentials from the AWS SSO login "
         "(SignatureDoesNotMatch); check them, and that they belong to this server."),
        # versitygw answers an unknown key with 404.
        (FileNotFoundError(s3_error("404 Not Found", "XAdminUserNotFound")), errors.StorageDenied,
         "S3 at http://s3.example:9000 doesn't accept the credentials from the AWS SSO login "
         "(XAdminUserNotFound); check them, and that they belong to this server."),
        (GenericError(s3_error("400 Bad Request", "ExpiredToken")), errors.StorageDenied,
         "The S3 credentials from the AWS SSO login have expired (ExpiredToken); renew them."),
        (PermissionDeniedError(s3_error("403 Forbidden", "AccessDenied")), errors.StorageDenied,
         "The S3 credentials from the AWS SSO login may not store 'x' in the bucket 'files' "
         "(AccessDenied); give them that right, or use others."),
        (PermissionDeniedError(answer("403 Forbidden", "<p>planted body")),
         errors.StorageUnavailable,
         "What answers at http://s3.example:9000 refuses to store 'x' (HTTP 403) and gives no "
         "reason, as S3 would; check S3_ENDPOINT_URL and proxies on the way."),
        (FileNotFoundError(answer("404 Not Found", "<p>planted body")), errors.StorageUnavailable,
         "What answers at http://s3.example:9000 refuses to store 'x' (HTTP 404) and gives no "
         "reason, as S3 would; check S3_ENDPOINT_URL and proxies on the way."),
        (PermissionDeniedError(s3_error("403 Forbidden", "RequestTimeTooSkewed")),
         errors.StorageDenied,
         "The clocks of this machine and of S3 at http://s3.example:9000 differ too much "
         "(RequestTimeTooSkewed); set this machine's."),
        (GenericError(s3_error("400 Bad Request", "AuthorizationHeaderMalformed")),
         errors.ConfigurationError,
         "The bucket 'files' is in another region; set AWS_REGION to the bucket's."),
        (GenericError(s3_error("507 Insufficient Storage", "XMinioStorageFull")),
         errors.StorageError,
         "S3 can't store 'x': it has no room left (XMinioStorageFull)."),
        (GenericError(s3_error("503 Service Unavailable", "SlowDown")), errors.StorageUnavailable,
         "S3 at http://s3.example:9000 can't answer now (SlowDown); try again later."),
        (GenericError(answer("502 Bad Gateway", "<html>planted body")), errors.StorageUnavailable,
         "S3 at http://s3.example:9000 can't answer now (HTTP 502); try again later."),
        (GenericError(no_answer("Connect", "ConnectError")), errors.StorageUnavailable,
         "S3 at http://s3.example:9000 doesn't answer (no connection); check S3_ENDPOINT_URL "
         "and the network."),
        (GenericError(no_answer("Timeout", "source: TimedOut")), errors.StorageUnavailable,
         "S3 at http://s3.example:9000 doesn't answer (no answer in time); check S3_ENDPOINT_URL "
         "and the network."),
        (GenericError(no_answer("Connect", "InvalidCertificate( UnknownIssuer )")),
         errors.StorageUnavailable,
         "The certificate of S3 at http://s3.example:9000 isn't trusted; set S3_CA_BUNDLE to a "
         "PEM file with its authority's certificate."),
        (GenericError(no_answer("Connect", "InvalidCertificate( NotValidForNameContext {} )")),
         errors.StorageUnavailable,
         "The certificate of S3 at http://s3.example:9000 is for another name; S3_ENDPOINT_URL "
         "must have the name that it is for."),
        (GenericError(s3_error("400 Bad Request", "KeyTooLongError")), errors.StorageError,
         "S3 at http://s3.example:9000 refused to store 'x' (KeyTooLongError)."),
        (UnauthenticatedError("planted body"), errors.StorageError,
         "S3 at http://s3.example:9000 refused to store 'x' (UnauthenticatedError)."),
    ],
)  # fmt: skip
def test_a_failure_becomes_one_sentence(error: Exception, kind: type, sentence: str) -> None:
    explained = explain(error, action="store 'x'", place=PLACE)
    assert type(explained) is kind
    assert str(explained) == sentence
    assert not any(planted in str(explained) for planted in PLANTED)
