package lint

// exclusions are the lints that do not apply to a private CA, each with the
// reason.
func exclusions() map[string]string { //nolint:funlen // a table
	reasons := map[string]string{}
	for _, group := range []struct {
		reason string
		lints  []string
	}{
		{"private names and addresses are what this CA is for", []string{
			"e_dnsname_not_valid_tld",
			"e_dnsname_contains_bare_iana_suffix",
			"n_san_iana_pub_suffix_empty",
			"n_dnsname_wildcard_left_of_public_suffix",
			"e_ext_san_contains_reserved_ip",
			"e_subject_contains_reserved_ip",
			"e_subject_contains_reserved_arpa_ip",
			"w_subject_contains_malformed_arpa_ip",
			"e_arpa_domain_not_allowed",
			"w_sub_cert_aia_contains_internal_names",
			"e_san_dns_name_onion_not_ev_cert",
		}},
		{"names with underscores are policy's to allow, and services have them (RFC 6763)", []string{
			"e_rfc_dnsname_underscore_in_sld",
		}},
		{"names other than DNS names and addresses belong to S/MIME, SPIFFE and attested devices", []string{
			"e_ext_san_directory_name_present",
			"e_ext_san_other_name_present",
			"e_ext_san_registered_id_present",
			"e_ext_san_rfc822_name_present",
			"e_ext_san_uniform_resource_identifier_present",
		}},
		{"the trust domain of a SPIFFE ID need not be a name of DNS", []string{
			"e_ext_san_uri_host_not_fqdn_or_ip",
		}},
		{"hosts of private networks, and the trust domains of meshes, may be names of one label", []string{
			"e_name_constraint_not_fqdn",
		}},
		{"how long certificates last is the operator's to say", []string{
			"e_server_cert_valid_time_longer_than_47_days",
			"e_server_cert_valid_time_longer_than_100_days",
			"e_server_cert_valid_time_longer_than_200_days",
			"w_server_cert_valid_time_longer_than_46_days",
			"w_server_cert_valid_time_longer_than_99_days",
			"w_server_cert_valid_time_longer_than_199_days",
			"e_sub_cert_valid_time_longer_than_39_months",
			"e_sub_cert_valid_time_longer_than_825_days",
		}},
		{"policies and validation levels are the public CAs'", []string{
			"e_sub_cert_cert_policy_empty",
			"e_sub_cert_certificate_policies_missing",
			"e_sub_cert_given_name_surname_contains_correct_policy",
		}},
		{"subjects are the operator's: organizations without a country, units without an organization, and common names", []string{
			"e_organizational_unit_name_prohibited",
			"e_sub_cert_country_name_must_appear",
			"e_sub_cert_locality_name_must_appear",
			"e_sub_cert_locality_name_must_not_appear",
			"e_sub_cert_postal_code_must_not_appear",
			"e_sub_cert_province_must_appear",
			"e_sub_cert_province_must_not_appear",
			"e_sub_cert_street_address_should_not_exist",
			"e_subject_common_name_not_exactly_from_san",
			"e_subject_contains_organizational_unit_name_and_no_organization_name",
			"n_subject_common_name_included",
			"w_subject_common_name_included",
		}},
		{"revocation lists, OCSP and the issuer's URL are optional, and their URLs may be any", []string{
			"e_aia_ca_issuers_must_have_http_only",
			"e_aia_ocsp_must_have_http_only",
			"e_crl_distrib_points_not_http",
			"e_missing_crl_distrib_point",
			"e_sub_cert_aia_does_not_contain_ocsp_url",
			"e_sub_cert_aia_missing",
			"e_sub_cert_crl_distribution_points_does_not_contain_url",
			"w_sub_cert_aia_does_not_contain_issuing_ca_url",
		}},
		{"certificates for servers may be for more than serving", []string{
			"e_sub_cert_eku_check",
			"e_sub_cert_eku_server_auth_client_auth_missing",
			"w_sub_cert_eku_extra_values",
			"e_cabf_ecc_allowed_key_usages",
			"w_cabf_ecc_ku_keyagreement_present",
		}},
		{"Ed25519 is allowed here", []string{
			"e_algorithm_identifier_improper_encoding",
			"e_signature_algorithm_not_supported",
		}},
		{"RFC 5280 §4.2.1.2 recommends the identifier, which helps to build chains; the public CAs save its bytes", []string{
			"w_ext_subject_key_identifier_not_recommended_subscriber",
		}},
		{"takes 5 ms to compare keys with those of a public CA", []string{
			"e_cert_issued_by_compromised_emudhra_ca",
		}},
	} {
		for _, name := range group.lints {
			reasons[name] = group.reason
		}
	}
	return reasons
}
