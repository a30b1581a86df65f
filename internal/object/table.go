package object

import "iter"

const sectionEnv = "env"

// envKeyword is the row of a keyword that the operator made up: env.ANYTHING.
func envKeyword(name string) Keyword {
	return Keyword{Name: name, Kinds: []Kind{KindCfg}, Type: TypeString, Max: maxValue, Doc: "A value of your own."}
}

// table is every keyword there is, once, in four parts; nobody writes to it. Upper
// bounds of the parts of a subject are those of RFC 5280, appendix A.1.
func table() iter.Seq[*Keyword] {
	return func(yield func(*Keyword) bool) {
		for _, rows := range [...][]Keyword{subjectRows, issuanceRows, userRows, clusterRows} {
			for i := range rows {
				if !yield(&rows[i]) {
					return
				}
			}
		}
	}
}

// subjectRows say whom a certificate is for.
var subjectRows = []Keyword{
	{Name: "cn", Kinds: []Kind{KindSec, KindUsr}, Type: TypeString, Max: 64, Example: "vip.clu.mycorp",
		Doc: "Common name of the certificate. That of system/usr/X is X. A DNS name is also put in the subject alternative names, that of a user only when its keyword names permits it."},
	{Name: "c", Kinds: []Kind{KindSec, KindUsr}, Type: TypeCountry, Example: "FR", Doc: "Country of the subject, two letters."},
	{Name: "st", Kinds: []Kind{KindSec, KindUsr}, Type: TypeString, Max: 128, Example: "IDF", Doc: "State or province of the subject."},
	{Name: "l", Kinds: []Kind{KindSec, KindUsr}, Type: TypeString, Max: 128, Example: "Paris", Doc: "Locality of the subject."},
	{Name: "o", Kinds: []Kind{KindSec, KindUsr}, Type: TypeString, Max: 64, Example: "MyCorp", Doc: "Organization of the subject. Root sets that of a user; that of a sec is that of the caller's own user."},
	{Name: "ou", Kinds: []Kind{KindSec, KindUsr}, Type: TypeString, Max: 64, Example: "Support", Doc: "Organizational unit of the subject. Root sets that of a user; that of a sec is that of the caller's own user."},
	{Name: "email", Kinds: []Kind{KindSec, KindUsr}, Type: TypeEmail, Example: "support@mycorp", Doc: "E-mail address, one of the subject alternative names."},
	{Name: "alt_names", Kinds: []Kind{KindSec, KindUsr}, Type: TypeNames, Example: "node1.clu.mycorp 192.0.2.1 spiffe://clu/web",
		Doc: "Subject alternative names: DNS names, IP addresses, URIs and e-mail addresses; the prefixes DNS: and IP: are accepted. Those of a user are set by root."},
}

// issuanceRows say how a certificate is made.
var issuanceRows = []Keyword{
	{Name: "validity", Kinds: []Kind{KindSec, KindUsr}, Type: TypeDuration, Example: "1y",
		Doc: "How long a certificate lives: y w d h m s, such as 90d or 1d12h. 1y unless set, 10y for a CA, 30d for profile ocsp, and never longer than the CA."},
	{Name: "key_type", Kinds: []Kind{KindSec, KindUsr}, Type: TypeKeyType, Example: "ec-p384",
		Doc: "What the private key is: ec-p256 (unless set), ec-p384, ed25519, rsa-2048, rsa-3072 or rsa-4096."},
	{Name: "bits", Kinds: []Kind{KindSec, KindUsr}, Type: TypeBits, Example: "4096", Doc: "Size of an RSA key, 2048, 3072 or 4096 (2k, 3k, 4k): implies RSA."},
	{Name: "ca", Kinds: []Kind{KindSec, KindUsr}, Type: TypePath, Example: "system/sec/ca",
		Doc: "Path of the CA that signs. system/sec/ca unless set; a CA without it signs itself."},
	{Name: "profile", Kinds: []Kind{KindSec, KindUsr}, Type: TypeProfile, Example: "listener",
		Doc: "What the certificate is for. usr for a user, ca for system/sec/ca and system/sec/ca-*, ocsp for system/sec/ocsp and system/sec/ocsp-*, listener for any other sec."},
	{Name: "comment", Kinds: []Kind{KindSec, KindUsr, KindCfg}, Type: TypeString, Max: 1024, Example: "ordered by the web team",
		Doc: "A note for people."},
	{Name: "allow_names", Kinds: []Kind{KindSec}, Type: TypePatterns, Example: "*.clu.mycorp 192.0.2.0/24",
		Doc: "The only names that this CA, and the CAs below it, sign: DNS patterns, CIDRs, e-mail domains, URI domains. Everything unless set."},
	{Name: "deny_names", Kinds: []Kind{KindSec}, Type: TypePatterns, Example: "secret.clu.mycorp",
		Doc: "Names that this CA, and the CAs below it, never sign, even when allow_names has them."},
}

// userRows say who a user is and what it may do.
var userRows = []Keyword{
	{Name: "grant", Kinds: []Kind{KindUsr}, Type: TypeGrants, Example: "admin:ns1 guest:ns2",
		Doc: "What the user may do: role or role:namespace[,namespace], where a namespace may be a glob."},
	{Name: "names", Kinds: []Kind{KindUsr}, Type: TypePatterns, Example: "*.clu.mycorp",
		Doc: `Names that the user may ask for with "certificate sign": DNS patterns, CIDRs, e-mail domains, URI domains. Its own certificate has no other DNS names.`},
	{Name: "roles", Kinds: []Kind{KindUsr}, Type: TypeWords, Choices: []string{"api", "user", "manager", "support", "admin"}, Example: "user api",
		Doc: "Roles in the tokens of the user, for services that read them, as ClusterCockpit does: api, user, manager, support, admin. They open nothing here."},
	{Name: "allowed_ips", Kinds: []Kind{KindUsr}, Type: TypeNetworks, Example: "192.0.2.0/24 2001:db8::1",
		Doc: "Where the user may call from. Anywhere unless set."},
	{Name: "max_validity", Kinds: []Kind{KindUsr}, Type: TypeDuration, Example: "90d",
		Doc: "The longest validity that the user may ask for. It narrows cluster.max_validity, and is set by root."},
	{Name: "disabled", Kinds: []Kind{KindUsr}, Type: TypeBool, Default: "false", Example: "true",
		Doc: "A disabled user cannot log in, and its open connections are closed."},
}

// clusterRows are the keywords of the cluster object.
var clusterRows = []Keyword{
	{Name: "cluster.name", Kinds: []Kind{KindCcfg}, Type: TypeLabel, Example: "calm-otter", Doc: "Name of the cluster."},
	{Name: "cluster.id", Kinds: []Kind{KindCcfg}, Type: TypeUUID, Example: "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a",
		Doc: "Identity of the cluster. Given once, it does not change."},
	{Name: "cluster.nodes", Kinds: []Kind{KindCcfg}, Type: TypeHosts, Example: "node1 node2", Doc: "Names of the nodes."},
	{Name: "cluster.vip", Kinds: []Kind{KindCcfg}, Type: TypeHosts, Example: "vip.clu.mycorp 192.0.2.10",
		Doc: "Names and addresses at which the cluster answers as a whole; the listener's certificate carries them."},
	{Name: "cluster.ca", Kinds: []Kind{KindCcfg}, Type: TypePaths, Example: "system/sec/ca-external",
		Doc: "CAs trusted for client certificates, in addition to the internal one."},
	{Name: "cluster.away_limit", Kinds: []Kind{KindCcfg}, Type: TypeDuration, Default: "10m", Example: "1h",
		Doc: "How long a node that no longer hears from the store that it shares goes on accepting certificates, tokens, passwords and sessions, by what it knew last. 10 s at least. Then the unix socket alone is served."},
	{Name: "cluster.min_password", Kinds: []Kind{KindCcfg}, Type: TypeCount, Default: "8", Example: "12",
		Doc: "How many characters a password has at least. 8 at least, whatever is set. Hashes that were made elsewhere are taken as they are."},
	{Name: "cluster.min_validity", Kinds: []Kind{KindCcfg}, Type: TypeDuration, Default: "5m", Example: "1h",
		Doc: "The shortest validity that a caller without root may ask for, and that a certificate which renews itself gets. At least 1s."},
	{Name: "cluster.max_validity", Kinds: []Kind{KindCcfg}, Type: TypeLives, Default: "825d", Example: "1y usr=90d",
		Doc: "The longest validity that a caller without root may ask for, also by profile: DURATION or PROFILE=DURATION. 0 is no bound. Clients of Apple take no server certificate that lives longer than 825d."},
	{Name: "cluster.max_certificates", Kinds: []Kind{KindCcfg}, Type: TypeCount, Default: "1000", Example: "100",
		Doc: "How many certificates a caller without root gets within an hour, on all nodes together. The renewal of an object's living certificate with the same names does not count, once an hour. 0 is no bound."},
	{Name: "cluster.max_tokens", Kinds: []Kind{KindCcfg}, Type: TypeCount, Default: "1000", Example: "100",
		Doc: "How many living tokens a user may have: beyond, root alone issues another. 0 is no bound."},
	{Name: "cluster.crl", Alias: "listener.crl", Kinds: []Kind{KindCcfg}, Type: TypeSources, Example: "http://crl.mycorp",
		Doc: "Where the revocation lists of other CAs are: URLs, files or paths of secs."},
	{Name: "listener.addr", Kinds: []Kind{KindCcfg}, Type: TypeHost, Example: "192.0.2.1", Doc: "Address to listen on. Every address unless set."},
	{Name: "listener.port", Kinds: []Kind{KindCcfg}, Type: TypePort, Default: "1215", Example: "1215", Doc: "Port to listen on."},
	{Name: "listener.http_addr", Kinds: []Kind{KindCcfg}, Type: TypeAddr, Example: ":8080",
		Doc: "Address of a plain HTTP listener for revocation lists, OCSP and CA certificates only. Off unless set."},
	{Name: "listener.crl_policy", Kinds: []Kind{KindCcfg}, Type: TypeChoice, Choices: []string{"hard", "soft"}, Default: "hard", Example: "soft",
		Doc: "What an expired revocation list that cannot be refreshed does: hard refuses the certificates that it speaks for, soft warns."},
	{Name: "listener.tls_min_version", Kinds: []Kind{KindCcfg}, Type: TypeChoice, Choices: []string{"1.2", "1.3"}, Default: "1.3", Example: "1.2",
		Doc: "Oldest version of TLS spoken."},
	{Name: "listener.openid_issuer", Kinds: []Kind{KindCcfg}, Type: TypeIssuer, Example: "https://idp.mycorp/realms/clu",
		Doc: "OpenID Connect issuer whose tokens are accepted. None unless set."},
	{Name: "listener.openid_client_id", Kinds: []Kind{KindCcfg}, Type: TypeString, Max: 256, Default: "omca", Example: "omca",
		Doc: "What the audience of a token of the issuer must contain."},
	{Name: "listener.openid_grant_claim", Kinds: []Kind{KindCcfg}, Type: TypeString, Max: 64, Default: "grant", Example: "grant",
		Doc: "Claim of a token of the issuer that holds the grants; entitlements is also read."},
	{Name: "listener.rate_limiter_rate", Kinds: []Kind{KindCcfg}, Type: TypeRate, Default: "1/s", Example: "100/m",
		Doc: "How many attempts to log in a user or an address has: N/s, N/m or N/h. 0 is no limit."},
	{Name: "listener.rate_limiter_burst", Kinds: []Kind{KindCcfg}, Type: TypeCount, Default: "20", Example: "100",
		Doc: "How many attempts may come at once."},
	{Name: "listener.trusted_proxies", Kinds: []Kind{KindCcfg}, Type: TypeNetworks, Example: "192.0.2.10 2001:db8:1::/64",
		Doc: "Reverse proxies whose X-Forwarded-For and Forwarded headers are believed. None unless set."},
	{Name: "listener.session_max_age", Kinds: []Kind{KindCcfg}, Type: TypeDuration, Default: "8h", Example: "8h",
		Doc: "How long a session of the web console lasts."},
	{Name: "token.issuer", Kinds: []Kind{KindCcfg}, Type: TypeIssuer, Example: "https://vip.clu.mycorp:1215",
		Doc: "What tokens say who issued them: the URL at which other services find the public keys. https://NODE:PORT of the first start unless set."},
	{Name: "token.max_age", Kinds: []Kind{KindCcfg}, Type: TypeDuration, Example: "24h",
		Doc: "How long a token may live at most. No limit unless set."},
}
