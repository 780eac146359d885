# -*- test-case-name: tests.config.test_declarations -*-
"""
C{envoy.extensions.transport_sockets.tls.v3}, and where secrets come from.
"""

from __future__ import annotations

from meshproxy.config.supported import accept, declare, decline, only

__all__: list[str] = []

_TLS = "envoy.extensions.transport_sockets.tls.v3."
_CORE = "envoy.config.core.v3."

declare(_TLS + "DownstreamTlsContext", "common_tls_context", "require_client_certificate", "require_sni")
declare(_TLS + "DownstreamTlsContext", "disable_stateless_session_resumption", "disable_stateful_session_resumption")
declare(_TLS + "DownstreamTlsContext", "session_timeout", "full_scan_certs_on_sni_mismatch", "prefer_client_ciphers")
declare(_TLS + "DownstreamTlsContext", "ocsp_staple_policy")

declare(_TLS + "UpstreamTlsContext", "common_tls_context", "sni", "auto_host_sni", "auto_sni_san_validation")
declare(_TLS + "UpstreamTlsContext", "max_session_keys")
decline(
    _TLS + "UpstreamTlsContext",
    "allow_renegotiation",
    "who an endpoint is would have to be found out again in the middle of a connection; TLS 1.3 has none of it",
)
accept(_TLS + "UpstreamTlsContext", "enforce_rsa_key_usage", "OpenSSL asks for the key usage of the cipher anyway")

declare(_TLS + "CommonTlsContext", "tls_params", "tls_certificates", "tls_certificate_sds_secret_configs")
declare(_TLS + "CommonTlsContext", "validation_context", "validation_context_sds_secret_config", "alpn_protocols")
declare(_TLS + "CommonTlsContext", "combined_validation_context", "key_log")
_TICKETS = "the bindings to OpenSSL have no call for the keys of tickets; its own end with the process"
decline(_TLS + "DownstreamTlsContext", "session_ticket_keys", _TICKETS)
decline(_TLS + "DownstreamTlsContext", "session_ticket_keys_sds_secret_config", _TICKETS)
_PROVIDERS = "certificates come from the configuration, from files or by SDS; nobody else provides any here"
for _field in ("provider_instance", "certificate_provider", "certificate_provider_instance"):
    decline(_TLS + "CommonTlsContext", f"tls_certificate_{_field}", _PROVIDERS)
for _message in ("CommonTlsContext", "CommonTlsContext.CombinedCertificateValidationContext"):
    for _field in ("certificate_provider", "certificate_provider_instance"):
        decline(_TLS + _message, f"validation_context_{_field}", _PROVIDERS)
decline(_TLS + "CertificateValidationContext", "ca_certificate_provider_instance", _PROVIDERS)
decline(
    _TLS + "CommonTlsContext",
    "custom_tls_certificate_selector",
    "certificates are chosen by the server name; those on demand are of extensions that are not here",
)
decline(_TLS + "CommonTlsContext", "custom_handshaker", "OpenSSL alone shakes hands here")
declare(_TLS + "TlsKeyLog", "path", "local_address_range", "remote_address_range")
declare(_TLS + "CommonTlsContext.CombinedCertificateValidationContext", "default_validation_context")
declare(_TLS + "CommonTlsContext.CombinedCertificateValidationContext", "validation_context_sds_secret_config")

declare(_TLS + "TlsParameters", "tls_minimum_protocol_version", "tls_maximum_protocol_version", "cipher_suites")
declare(_TLS + "TlsParameters", "ecdh_curves", "signature_algorithms", "compliance_policies")

declare(_TLS + "TlsCertificate", "certificate_chain", "private_key", "password", "pkcs12")
declare(_TLS + "TlsCertificate", "ocsp_staple")
decline(
    _TLS + "TlsCertificate",
    "private_key_provider",
    "the bindings to OpenSSL have no call for keys that somebody else holds",
)
decline(
    _TLS + "TlsCertificate",
    "tls_params",
    "OpenSSL agrees upon version and cipher before it knows the certificate; a filter chain may have its own",
)
accept(_TLS + "TlsCertificate", "signed_certificate_timestamp", "as in Envoy, which sends it to nobody")
decline(
    _TLS + "CertificateValidationContext",
    "require_signed_certificate_timestamp",
    "nothing would be required: Envoy does nothing with it either",
)
accept(_TLS + "TlsCertificate", "watched_directory", "all files of secrets are watched, by their content")

declare(_TLS + "CertificateValidationContext", "trusted_ca", "system_root_certs", "verify_certificate_spki")
declare(_TLS + "CertificateValidationContext", "verify_certificate_hash", "match_typed_subject_alt_names", "crl")
declare(_TLS + "CertificateValidationContext", "allow_expired_certificate", "trust_chain_verification")
declare(_TLS + "CertificateValidationContext", "custom_validator_config", "only_verify_leaf_cert_crl")
declare(_TLS + "CertificateValidationContext", "max_verify_depth", "suppress_client_ca_list", "match_subject_alt_names")
accept(_TLS + "CertificateValidationContext", "watched_directory", "all files of secrets are watched, by their content")
declare(_TLS + "CertificateValidationContext.SystemRootCerts")
declare(_TLS + "SubjectAltNameMatcher", "san_type", "matcher", "oid")
declare(_TLS + "SPIFFECertValidatorConfig", "trust_domains", "trust_bundles")
declare(_TLS + "SPIFFECertValidatorConfig.TrustDomain", "name", "trust_bundle")

declare(_TLS + "Secret", "name", "tls_certificate", "validation_context", "generic_secret")
decline(_TLS + "Secret", "session_ticket_keys", _TICKETS)
declare(_TLS + "GenericSecret", "secret", "secrets")
declare(_TLS + "SdsSecretConfig", "name", "sds_config")

declare(_CORE + "ConfigSource", "path", "path_config_source", "ads", "api_config_source", "initial_fetch_timeout")
declare(_CORE + "AggregatedConfigSource")
only(_CORE + "ConfigSource", "resource_api_version", "V3", "AUTO")
declare(_CORE + "PathConfigSource", "path")
accept(_CORE + "PathConfigSource", "watched_directory", "files are watched by their content")
accept(_CORE + "DataSource", "watched_directory", "all files of secrets are watched, by their content")
declare(_CORE + "TypedExtensionConfig", "name", "typed_config")
