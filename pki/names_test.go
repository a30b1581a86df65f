package pki_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"omca/pki"
)

func TestParseNames(t *testing.T) {
	got, err := pki.ParseNames([]string{
		"Node1.Example.COM", "DNS:node1.example.com", "dns:n1", "*.example.com", "Bücher.example",
		"10.0.0.1", "IP:10.0.0.1", "::ffff:10.0.0.1", "fd00::1",
		"URI:HTTPS://Example.com/Path", "spiffe://Cluster/usr/alice", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
		"Joe@Example.com", "email:joe@example.com",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"DNS:node1.example.com", "DNS:n1", "DNS:*.example.com", "DNS:xn--bcher-kva.example",
		"IP:10.0.0.1", "IP:fd00::1",
		"URI:https://example.com/Path", "URI:spiffe://cluster/usr/alice", "URI:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
		"email:joe@example.com",
	}
	if diff := cmp.Diff(want, got.Strings()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestParseNamesRefuses(t *testing.T) {
	for _, name := range []string{
		"", "a b", "a..b", ".a", "a.", "a.example.com.", "-a.b", "a-.b", "a_b.c", "*", "a.*.b", "*a.b", "**.b", "*.*.b", "host:1215",
		"DNS:10.0.0.1", "1.2.3", strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 127) + "bb", "xn--\u00e9.b", "xn--a.b",
		"IP:10.0.0", "IP:example.com", "IP:fe80::1%eth0", "fe80::1%eth0", "10.0.0.0/8",
		"URI:/path", "URI:", "https://", "https://user@example.com/", "https://intranet/", "https://exa mple.com/", "https://*.example.com/", "URI:https://é.com/",
		"@example.com", "joe@", "a@b@c.d", "a b@c.d", ".a@b.c", "a..b@c.d", `"a b"@c.d`, "joe@*.example.com", "a@10.0.0.1", "email:joe",
		"a\x00.b", "DNS:a,DNS:b",
	} {
		if got, err := pki.ParseNames([]string{name}); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%q: got %v, %v", name, got.Strings(), err)
		}
	}
}

func TestNamesAreAtMost100(t *testing.T) {
	var list []string
	for i := range 101 {
		list = append(list, fmt.Sprintf("n%d.example.com", i))
	}
	n := must[pki.Names](t)(pki.ParseNames(list[:100]))
	if err := n.Add(list[100]); !errors.Is(err, pki.ErrInvalid) || len(n.DNS) != 100 {
		t.Errorf("the 101st: %v, %d names", err, len(n.DNS))
	}
	if _, err := pki.ParseNames(list); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("101 at once: %v", err)
	}
}

func TestAddIsAllOrNothing(t *testing.T) {
	n := must[pki.Names](t)(pki.ParseNames([]string{"a.b"}))
	if err := n.Add("c.d", "e..f"); err == nil {
		t.Fatal("a bad name was added")
	}
	if diff := cmp.Diff([]string{"a.b"}, n.DNS); diff != "" || n.Empty() || !(pki.Names{}).Empty() {
		t.Errorf("after a failed Add (-want +got):\n%s", diff)
	}
}

func TestSubjectCheck(t *testing.T) {
	long := strings.Repeat("é", 64)
	good := pki.Subject{CommonName: long, Country: "fr", Province: "IDF", Locality: "Paris", Organization: "My Corp", OrganizationalUnit: "Støtte", Email: "support@mycorp"}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, s := range map[string]pki.Subject{
		"a long common name": {CommonName: long + "é"}, "a long organization": {Organization: long + "é"},
		"three letters": {Country: "FRA"}, "one letter": {Country: "F"}, "digits": {Country: "12"}, "no ASCII": {Country: "éé"},
		"a control character": {Locality: "Pa\x00ris"}, "a line end": {CommonName: "a\nb"}, "text that runs backwards": {CommonName: "a\u202eb"},
		"no UTF-8": {CommonName: "a\xffb"}, "no address": {Email: "support"},
	} {
		if err := s.Check(); !errors.Is(err, pki.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseNames(f *testing.F) {
	for _, s := range []string{"a.b", "*.a.b", "10.0.0.1", "::1", "URI:https://a.b/c?d#e", "spiffe://c/usr/a", "a@b.c", "xn--bcher-kva.example", "Bücher.example", "urn:a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		n, err := pki.ParseNames([]string{in})
		if err != nil {
			return
		}
		again, err := pki.ParseNames(n.Strings())
		if err != nil {
			t.Fatalf("%q: %q is not read back: %v", in, n.Strings(), err)
		}
		if diff := cmp.Diff(n, again, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Fatalf("%q is not canonical (-first +second):\n%s", in, diff)
		}
	})
}
