package object

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/internal/hint"
)

// samples are values that each keyword accepts and refuses, one per line.
func samples() map[string]struct{ good, bad []string } {
	list := func(lines ...string) []string { return lines }
	type s = struct{ good, bad []string }
	return map[string]s{
		"cn":           {list("vip.clu.mycorp", "Ünal Öz", strings.Repeat("é", 64)), list(strings.Repeat("a", 65), "a\nb", "a\x00", "a\u202eb", "a\xff", "a\tb")},
		"c":            {list("FR", "fr"), list("FRA", "F", "F1", "F R")},
		"st":           {list("IDF", strings.Repeat("s", 128)), list(strings.Repeat("s", 129), "\x1b[31m")},
		"l":            {list("Paris"), list(strings.Repeat("l", 129))},
		"o":            {list("MyCorp, Inc."), list(strings.Repeat("o", 65))},
		"ou":           {list("Support"), list(strings.Repeat("o", 65))},
		"email":        {list("support@mycorp", "a.b@mycorp.example"), list("support", "a@b c@d", "Bob <bob@mycorp>", "@mycorp")},
		"alt_names":    {list("node1.mycorp DNS:node2 192.0.2.1 IP:2001:db8::1 spiffe://clu/web a@b.c", "*.mycorp"), list("a..b", "IP:node1", "no_such host!", "192.0.2.1/24")},
		"validity":     {list("1y", "36h", "1d12h", "3600"), list("bogus", "0", "-1h", "1ms", "200y")},
		"key_type":     {list("ec-p256", "ec-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"), list("rsa", "rsa-1024", "dsa", "EC")},
		"bits":         {list("2048", "3072", "4096", "2k", "4k", "4kib"), list("1024", "8192", "8k", "4kb", "4194304k", "x", "-2048")},
		"ca":           {list("system/sec/ca", "sec/ca2"), list("system/usr/a", "ca", "System/sec/ca", "system/sec/a system/sec/b")},
		"profile":      {list("ca", "listener", "node"), list("server", "CA", "ca listener")},
		"comment":      {list("anything = goes; # here"), list(strings.Repeat("c", 1025), "two\nlines")},
		"allow_names":  {list("*.clu.mycorp 192.0.2.0/24 @mycorp.example URI:mycorp.example"), list("a..b", "192.0.2.0/40")},
		"deny_names":   {list("secret.clu.mycorp"), list("a..b")},
		"grant":        {list("root", "admin:ns1 guest:ns2", "guest:*", "squatter", "admin:test*,ns1"), list("king", "admin:", "root:ns1")},
		"names":        {list("*.clu.mycorp", "192.0.2.0/24"), list("a..b")},
		"roles":        {list("user api", "admin", "manager support"), list("Admin", "api,user", "root", "api api", "anonymous")},
		"allowed_ips":  {list("192.0.2.0/24 2001:db8::1", "0.0.0.0/0"), list("192.0.2.1/24", "localhost", "192.0.2.0/33", "fe80::1%eth0")},
		"max_validity": {list("90d", "1h"), list("0", "soon", "1y usr=90d")},
		"disabled":     {list("true", "false", "yes", "No", "1", "off"), list("maybe", "2", "true false")},

		"cluster.name":                {list("calm-otter", "clu.mycorp"), list("Clu", "a b", "-a", strings.Repeat("a", 64))},
		"cluster.id":                  {list("0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a"), list("0b5d8a1e", "0b5d8a1e3f0c4f7e9a557d1c2f3e4b6a", "gb5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a")},
		"cluster.nodes":               {list("node1 node2", "n1.mycorp"), list("node_1", "a..b", "-a", "a-.b", strings.Repeat("a.", 126)+"aa")},
		"cluster.away_limit":          {list("10m", "1h", "90s"), list("ten", "-1m", "m")},
		"cluster.min_password":        {list("8", "16"), list("-1", "x", "1000001")},
		"cluster.min_validity":        {list("5m", "1s", "1h"), list("0", "1ms", "soon")},
		"cluster.max_validity":        {list("825d", "0", "1y usr=90d", "listener=0 30d node=5y"), list("soon", "usr", "usr=1ms", "server=1d", "1d 2d", "usr=1d usr=2d", "=1d")},
		"cluster.max_certificates":    {list("1000", "0"), list("-1", "x", "1000001")},
		"cluster.max_tokens":          {list("1000", "0"), list("-1", "x", "1000001")},
		"cluster.vip":                 {list("vip.clu.mycorp", "192.0.2.10 2001:db8::10"), list("192.0.2.10/24@eth0", "192.0.2", "300.1.1.1")},
		"cluster.ca":                  {list("system/sec/ca-external", "sec/a sec/b"), list("system/usr/a", "http://ca")},
		"cluster.crl":                 {list("http://crl.mycorp", "https://a/b.crl /etc/ca.crl system/sec/ca"), list("ftp://a/b", "crl.pem", "http://", "http://u:p@h/", "system/usr/a")},
		"listener.addr":               {list("192.0.2.1", "::", "node1.mycorp"), list("192.0.2.1:1215", "a b", "*")},
		"listener.port":               {list("1215", "1", "65535"), list("0", "65536", "http", "-1")},
		"listener.http_addr":          {list(":8080", "192.0.2.1:80", "[::1]:80", "node1:80"), list("8080", "::1:80", "[::1:80", "[]:80", "a b:80", ":0", ":http")},
		"listener.crl_policy":         {list("hard", "soft"), list("Hard", "off", "hard soft")},
		"listener.tls_min_version":    {list("1.2", "1.3"), list("1.1", "1.0", "TLS1.3")},
		"listener.openid_issuer":      {list("https://idp.mycorp/realms/clu", "http://127.0.0.1:5556/dex", "http://localhost/", "http://[::1]:1"), list("http://idp.mycorp", "idp.mycorp", "https://", "https://a/?b", "https://u@a/", "https://a/#b", "ftp://a")},
		"listener.openid_client_id":   {list("omca"), list(strings.Repeat("x", 257))},
		"listener.openid_grant_claim": {list("grant", "entitlements"), list(strings.Repeat("x", 65))},
		"listener.rate_limiter_rate":  {list("20/s", "100/m", "0", "5", "1/h"), list("20/", "/s", "20/d", "-1", "1.5", "20/s/s", "2000000/s")},
		"listener.rate_limiter_burst": {list("100", "0"), list("-1", "x", "1000001", "10/s")},
		"listener.trusted_proxies":    {list("192.0.2.10", "192.0.2.0/24 2001:db8::/32"), list("proxy", "192.0.2.1/24", "192.0.2.10:80")},
		"listener.session_max_age":    {list("8h", "30m"), list("8", "0", "100ms", "forever")[1:]},
		"token.issuer":                {list("https://vip.clu.mycorp:1215", "http://127.0.0.1:1215"), list("http://vip.clu.mycorp", "vip.clu.mycorp", "https://a/?b")},
		"token.max_age":               {list("24h", "1y"), list("0s", "forever")},
	}
}

// TestKeywords tries good and bad values on every keyword, and fails for a row
// of the table without any.
func TestKeywords(t *testing.T) {
	all := samples()
	for k := range table() {
		s, ok := all[k.Name]
		if !ok || len(s.good) == 0 || len(s.bad) == 0 {
			t.Errorf("%s: no samples", k.Name)
		}
		delete(all, k.Name)
		for _, v := range append(s.good, k.Example, k.Default, "", "  ") {
			if got, err := k.Clean(" " + v + " "); err != nil {
				t.Errorf("%s: %q refused: %v", k.Name, v, err)
			} else if again, err := k.Clean(got); err != nil || again != got {
				t.Errorf("%s: %q is clean as %q, then as %q, %v", k.Name, v, got, again, err)
			}
		}
		for _, v := range append(s.bad, strings.Repeat("x ", maxValue)) {
			if got, err := k.Clean(v); err == nil {
				t.Errorf("%s: %q accepted as %q", k.Name, v, got)
			} else {
				wantInvalid(t, err, `keyword "`+k.Name+`"`)
				if len(err.Error()) > 500 {
					t.Errorf("%s: the error has %d bytes", k.Name, len(err.Error()))
				}
			}
		}
		if k.Doc == "" || k.Example == "" || len(k.Kinds) == 0 {
			t.Errorf("%s: the row lacks a document, an example or a kind", k.Name)
		}
	}
	for name := range all {
		t.Errorf("%s: samples, but no keyword", name)
	}
}

func TestCleanList(t *testing.T) {
	k := must[Keyword](t)(LookupKeyword(KindUsr, "grant"))
	got, err := k.Clean("\n admin:ns1\t guest:ns2 \n")
	if want := "admin:ns1 guest:ns2"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	_, err = k.Clean(strings.Repeat("root ", maxWords+1))
	wantInvalid(t, err, "1001 words, at most 1000")
}

func TestKeywordsOfKinds(t *testing.T) {
	for kind, want := range map[Kind]string{
		KindSec: "cn c st l o ou email alt_names validity key_type bits ca profile comment allow_names deny_names",
		KindUsr: "cn c st l o ou email alt_names validity key_type bits ca profile comment grant names roles allowed_ips max_validity disabled",
		KindCfg: "comment",
		KindCcfg: "cluster.name cluster.id cluster.nodes cluster.vip cluster.ca cluster.away_limit cluster.min_password cluster.min_validity cluster.max_validity cluster.max_certificates cluster.max_tokens cluster.crl listener.addr listener.port listener.http_addr " +
			"listener.crl_policy listener.tls_min_version listener.openid_issuer listener.openid_client_id listener.openid_grant_claim " +
			"listener.rate_limiter_rate listener.rate_limiter_burst listener.trusted_proxies listener.session_max_age token.issuer token.max_age",
	} {
		var names []string
		for _, k := range Keywords(kind) {
			names = append(names, k.Name)
		}
		if diff := cmp.Diff(strings.Fields(want), names); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
	}
}

func TestLookupKeyword(t *testing.T) {
	for _, tt := range []struct {
		kind       Kind
		name, want string
	}{
		{KindSec, "cn", "cn"},
		{KindSec, "DEFAULT.cn", "cn"},
		{KindCcfg, "listener.crl", "cluster.crl"},
		{KindCcfg, "cluster.crl", "cluster.crl"},
		{KindCfg, "env.DB_HOST", "env.DB_HOST"},
		{KindCfg, "env.a.b", "env.a.b"},
	} {
		if k, err := LookupKeyword(tt.kind, tt.name); err != nil || k.Name != tt.want || !slices.Contains(k.Kinds, tt.kind) {
			t.Errorf("%s: %q is %q, %v, want %q", tt.kind, tt.name, k.Name, err, tt.want)
		}
	}
}

func TestLookupKeywordRefuses(t *testing.T) {
	for _, tt := range []struct {
		kind             Kind
		name, want, hint string
	}{
		{KindSec, "validty", `unknown keyword "validty" for a sec`, `did you mean "validity"?`},
		{KindSec, "grant", `unknown keyword "grant" for a sec`, `"grant" is a keyword of usr`},
		{KindUsr, "grants", "unknown keyword", `did you mean "grant"?`},
		{KindCcfg, "cluster.clr", `for the cluster`, `did you mean "cluster.crl"?`},
		{KindCcfg, "name", "unknown keyword", `did you mean "cluster.name"?`},
		{KindCfg, "cn", "unknown keyword", `"cn" is a keyword of sec, usr`},
		{KindUsr, "env.x", "unknown keyword", `"omca PATH config doc" lists the keywords`},
		{KindUsr, "", "empty keyword", ""},
		{KindUsr, "cn@node1", `scope "@node1"`, `write "cn"`},
		{KindUsr, "grant[0]", "by its place", "use grant+=WORD, grant-=WORD or grant=ALL THE WORDS"},
		{KindUsr, "a b", "character ' '", ""},
		{KindUsr, "DEFAULT.", "empty before or after", ""},
		{KindUsr, ".cn", "empty before or after", ""},
		{KindUsr, "DEFAULT.DEFAULT.cn", "unknown keyword", `"omca PATH config doc" lists the keywords`},
		{KindUsr, strings.Repeat("x", 129), "129 characters, at most 128", ""},
	} {
		_, err := LookupKeyword(tt.kind, tt.name)
		wantInvalid(t, err, tt.want)
		if got := hint.Of(err); got != tt.hint {
			t.Errorf("%s %q: hint %q, want %q", tt.kind, tt.name, got, tt.hint)
		}
	}
}

// TestTypes fails for a type that nothing checks, and for two rows of one name.
func TestTypes(t *testing.T) {
	if err := (Keyword{Name: "x", Type: "none"}).check("v"); err == nil {
		t.Error("a type without a check accepts anything")
	}
	seen := make(map[string]bool)
	for k := range table() {
		for _, name := range []string{k.Name, k.Alias} {
			if name != "" && seen[name] {
				t.Errorf("%q is in the table twice", name)
			}
			seen[name] = true
		}
	}
}
