package feed

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"omca/pki"
)

// What must not replace the lists that are held: list 5, delta 6 of it, and a partition 5, of one CA.
func TestRefused(t *testing.T) {
	corp, evil, other := newCA(t, "Corp"), newCA(t, "Corp"), newCA(t, "Other")
	now := time.Now()
	base := list(now, 5)
	delta := draft{number: 6, base: 5, this: now.Add(-hour), next: now.Add(hour), revoked: []int64{1}}
	part := draft{number: 5, scope: "http://p", this: now.Add(-hour), next: now.Add(2 * hour)}
	held := [][]byte{corp.sign(t, base), corp.sign(t, delta), corp.sign(t, part)}
	with := func(at int, d draft) [][]byte {
		next := slices.Clone(held)
		next[at] = corp.sign(t, d)
		return next
	}
	late := func(d draft, number int64, by time.Duration) draft {
		d.number, d.this = number, d.this.Add(by)
		return d
	}
	for _, c := range []struct {
		name string
		body []byte
		want string // "" for accepted
	}{
		{"newer, PEM", pemOf(with(0, late(base, 6, time.Minute))...), ""},
		{"newer, DER", bytes.Join(with(0, late(base, 6, time.Minute)), nil), ""},
		{"text around PEM", append([]byte("Certificate Revocation List (CRL):\n"), pemOf(with(0, late(base, 6, time.Minute))...)...), ""},
		{"same number, later", pemOf(with(0, late(base, 5, time.Minute))...), ""},
		{"number back", pemOf(with(0, late(base, 4, time.Minute))...), "rollback"},
		{"date back", pemOf(with(0, late(base, 6, -time.Minute))...), "rollback"},
		{"delta back", pemOf(with(1, late(delta, 5, 0))...), "rollback"},
		{"partition back", pemOf(with(2, late(part, 4, 0))...), "rollback"},
		{"delta missing", pemOf(held[0], held[2]), "is missing"},
		{"partition missing", pemOf(held[0], held[1]), "is missing"},
		{"delta superseded", pemOf(corp.sign(t, late(base, 6, 0)), held[2]), ""},
		{"delta for a list", pemOf(corp.sign(t, draft{number: 7, base: 5, this: now, next: now.Add(hour)}), held[2]), "is missing"},
		{"future", pemOf(with(0, late(base, 6, 2*hour))...), "from the future"},
		{"lapsed and newer", pemOf(with(0, draft{number: 6, this: now.Add(-time.Minute), next: now.Add(-time.Second)})...), ""},
		{"bad signature", pemOf(append(slices.Clone(held), broken(corp.sign(t, late(base, 6, time.Minute))))...), "signature"},
		{"of another key", evil.sign(t, late(base, 6, time.Minute)), "none of the trusted CAs"},
		{"of another CA", other.sign(t, late(base, 6, time.Minute)), "none of the trusted CAs"},
		{"empty", nil, "neither DER nor PEM"},
		{"a page", []byte("<html><body>maintenance</body></html>"), "neither DER nor PEM"},
		{"a certificate", pemType("CERTIFICATE", corp.Raw), "another type"},
		{"a certificate in DER", corp.Raw, "malformed"},
		{"cut PEM", allButLast(30, pemOf(with(0, late(base, 6, time.Minute))...)), "PEM block 3 of 3 is broken"},
		{"cut PEM header", append(pemOf(with(0, late(base, 6, time.Minute))...), "-----BEG"...), "as if another was cut off"},
		{"cut DER", held[0][:len(held[0])-1], "broken DER"},
		{"trailing junk", append(bytes.Clone(held[0]), "junk"...), "broken DER"},
		{"too many, PEM", bytes.Repeat(pemOf(held[0]), 5), "more than 4 lists"},
		{"too many, DER", bytes.Repeat(held[0], 5), "more than 4 lists"},
		{"too long", make([]byte, 10_001), "at most 10000"},
	} {
		t.Run(c.name, func(t *testing.T) { offer(t, corp, pemOf(held...), c.body, c.want) })
	}
}

// offer has a source give held, and then body, which is to be refused with a reason; "" for accepted.
func offer(t *testing.T, corp ca, held, body []byte, want string) {
	t.Helper()
	b := newBench(t, Limits{Lists: 4, Bytes: 10_000}, corp)
	b.serve(held)
	b.load(url1)
	b.holds("Corp 5", "Corp 6", "Corp 5")
	before, kept := b.calls(), b.memory.kept[url1].DER
	b.serve(body)
	err := b.Refresh(t.Context(), url1)
	saved := !bytes.Equal(kept, b.memory.kept[url1].DER)
	if want == "" {
		if err != nil || b.calls() != before+1 || !saved {
			t.Errorf("error %v, %d calls of Changed, saved %t; want it accepted", err, b.calls()-before, saved)
		}
		return
	}
	if !errors.Is(err, pki.ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), url1) {
		t.Errorf("error %v, want one with %q", err, want)
	}
	if b.calls() != before || saved || b.Status()[0].State != Fresh || b.Status()[0].LastError == "" {
		t.Errorf("%d calls of Changed, saved %t, status %+v; want nothing replaced", b.calls()-before, saved, b.Status()[0])
	}
}

func allButLast(n int, text []byte) []byte { return text[:len(text)-n] }

// Lists of CAs that are not trusted are set aside, beside some that are.
func TestAside(t *testing.T) {
	corp, other := newCA(t, "Corp"), newCA(t, "Other")
	now := time.Now()
	b := newBench(t, Limits{}, corp)
	own := corp.sign(t, list(now, 2))
	b.serve(pemOf(other.sign(t, list(now, 1)), own))
	b.load(url1)
	b.holds("Corp 2")
	b.is(Fresh, "none of the trusted CAs")
	if got := b.memory.kept[url1].DER; !bytes.Equal(got, own) {
		t.Errorf("%d bytes were kept, want the %d of the list that is believed", len(got), len(own))
	}
}

// A list that lapsed is not missed.
func TestLapsedIsNotMissed(t *testing.T) {
	corp, other := newCA(t, "Corp"), newCA(t, "Other")
	now := time.Now()
	b := newBench(t, Limits{}, corp, other)
	old := draft{number: 1, this: now.Add(-2 * hour), next: now.Add(-hour)}
	b.serve(pemOf(other.sign(t, old), corp.sign(t, list(now, 2))))
	b.load(url1)
	b.holds("Other 1", "Corp 2")
	b.serve(corp.sign(t, list(now, 3)))
	if err := b.Refresh(t.Context(), url1); err != nil {
		t.Error(err)
	}
	b.holds("Corp 3")
}

// A CA begins anew with another key: the numbers may, the date may not.
func TestAnotherKey(t *testing.T) {
	old, fresh := newCA(t, "Corp"), newCA(t, "Corp")
	now := time.Now()
	b := newBench(t, Limits{}, old, fresh)
	b.serve(old.sign(t, list(now, 100)))
	b.load(url1)
	b.serve(fresh.sign(t, list(now.Add(-time.Minute), 101)))
	if err := b.Refresh(t.Context(), url1); err == nil || !strings.Contains(err.Error(), "rollback") {
		t.Errorf("error %v", err)
	}
	b.serve(fresh.sign(t, list(now.Add(time.Minute), 1)))
	if err := b.Refresh(t.Context(), url1); err != nil {
		t.Error(err)
	}
	b.holds("Corp 1")
}

// The list of a CA that left is not missed, even before Reverify was told.
func TestLeftIsNotMissed(t *testing.T) {
	corp, other := newCA(t, "Corp"), newCA(t, "Other")
	now := time.Now()
	b := newBench(t, Limits{}, corp, other)
	b.serve(pemOf(other.sign(t, list(now, 1)), corp.sign(t, list(now, 2))))
	b.load(url1)
	b.trust(corp)
	b.serve(corp.sign(t, list(now, 3)))
	if err := b.Refresh(t.Context(), url1); err != nil {
		t.Error(err)
	}
	b.holds("Corp 3")
}

// The value of a sec is bounded, too.
func TestLongObject(t *testing.T) {
	b := newBench(t, Limits{Bytes: 100}, newCA(t, "Corp"))
	b.put("root/sec/crl", make([]byte, 101))
	b.load("root/sec/crl")
	b.is(Error, "101 bytes, at most 100 are read")
}
