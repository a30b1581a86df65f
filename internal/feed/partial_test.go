package feed

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"

	"omca/internal/outbound"
)

// as returns c under a name, DER, and with a key identifier, both of another certificate over its key.
func (c ca) as(name []byte, keyID string) ca {
	cert := *c.Certificate
	cert.RawSubject, cert.SubjectKeyId = name, []byte(keyID)
	return ca{&cert, c.key}
}

// renewed returns c with another certificate over its key.
func (c ca) renewed(t *testing.T, name []byte, keyID string) ca {
	t.Helper()
	template := *c.Certificate
	template.RawSubject, template.SubjectKeyId = name, []byte(keyID)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca{cert, c.key}
}

// commonName is a Name of one attribute in a string type.
func commonName(tag tags.Tag, text string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tags.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tags.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte("\x55\x04\x03")) })
				b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
			})
		})
	})
	return b.BytesOrPanic()
}

// versionOne returns a list without its version.
func versionOne(t *testing.T, der []byte) []byte {
	t.Helper()
	var list, tbs cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&list, tags.SEQUENCE) || !list.ReadASN1(&tbs, tags.SEQUENCE) || !tbs.SkipASN1(tags.INTEGER) {
		t.Fatal("no list")
	}
	var b cryptobyte.Builder
	b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tags.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(tbs) })
		b.AddBytes(list)
	})
	return b.BytesOrPanic()
}

// oldAlgorithm returns a list with the identifier of ECDSA with SHA-224 in place of SHA-256.
func oldAlgorithm(der []byte) []byte {
	const id = "\x2a\x86\x48\xce\x3d\x04\x03"
	return bytes.ReplaceAll(der, []byte(id+"\x02"), []byte(id+"\x01"))
}

// sequence is a SEQUENCE that is no list.
func sequence() []byte {
	return append([]byte{0x30, 0x81, 0x80}, make([]byte, 0x80)...)
}

func (b *bench) undeterminedAre(want ...string) {
	b.t.Helper()
	got := []string{}
	for _, st := range b.Status() {
		for _, ca := range st.Undetermined {
			if name := ca.Subject.CommonName; !slices.Contains(got, name) {
				got = append(got, name)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, append([]string{}, want...)) {
		b.t.Errorf("undetermined are %q, want %q", got, want)
	}
	for _, ca := range b.signers {
		if awaited := len(b.Awaited([]*x509.Certificate{ca})) > 0; slices.Contains(want, ca.Subject.CommonName) && !awaited {
			b.t.Errorf("no list of %q is awaited", ca.Subject.CommonName)
		}
	}
}

// A list that comes beside a good one counts if a trusted CA signed it; else it leaves the CA undetermined that it may be of.
func TestPartial(t *testing.T) {
	other, corp, stranger := newCA(t, "Other"), newCA(t, "Corp CA"), newCA(t, "Stranger")
	now := time.Now()
	d := list(now, 7, 3)
	for _, c := range []struct {
		name         string
		beside       []byte
		state        State
		trouble      string
		holds        []string
		undetermined []string
	}{
		{"of the CA", corp.sign(t, d), Fresh, "", []string{"Other 1", "Corp CA 7"}, nil},
		{"in another string type", corp.as(commonName(tags.PrintableString, "corp  ca"), string(corp.SubjectKeyId)).sign(t, d), Fresh, "", []string{"Other 1", "Corp CA 7"}, nil},
		{"with another key identifier", corp.as(corp.RawSubject, "another").sign(t, d), Fresh, "", []string{"Other 1", "Corp CA 7"}, nil},
		{"of the name, and of another key", stranger.as(corp.RawSubject, "another").sign(t, d), Partial, "none of the trusted", []string{"Other 1"}, []string{"Corp CA"}},
		{"of the key identifier, and of another name", stranger.as(stranger.RawSubject, string(corp.SubjectKeyId)).sign(t, d), Partial, "none of the trusted", []string{"Other 1"}, []string{"Corp CA"}},
		{"of a name that cannot be read", stranger.as([]byte{0x30, 0x03, 0x31, 0x01, 0x05}, "another").sign(t, d), Partial, "none of the trusted", []string{"Other 1"}, []string{"Corp CA"}},
		{"of a CA that is not trusted", stranger.sign(t, d), Fresh, "none of the trusted", []string{"Other 1"}, nil},
		{"of the name, beside one that counts", append(corp.sign(t, d), stranger.as(corp.RawSubject, "another").sign(t, d)...), Fresh, "none of the trusted", []string{"Other 1", "Corp CA 7"}, nil},
		{"badly signed", broken(corp.sign(t, d)), Error, "signature", nil, []string{"Corp CA", "Other"}},
		{"no list", sequence(), Error, "malformed", nil, []string{"Corp CA", "Other"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, Limits{}, other, corp)
			b.serve(append(other.sign(t, list(now, 1)), c.beside...))
			b.load(url1)
			b.holds(c.holds...)
			b.undeterminedAre(c.undetermined...)
			if err := b.Refresh(t.Context(), url1); (err == nil) != (c.state == Fresh) || err != nil && !strings.Contains(err.Error(), c.trouble) {
				t.Errorf("Refresh: %v, want %q", err, c.trouble)
			}
			for _, st := range b.Status() {
				if st.State != c.state || !strings.Contains(st.LastError, c.trouble) || (st.LastError == "") != (c.trouble == "") {
					t.Errorf("state %q, error %q, want %q, %q", st.State, st.LastError, c.state, c.trouble)
				}
			}
		})
	}
}

// What is refused while good lists are held leaves the CA undetermined that none of these is of, until the source has something else, and
// across a restart without the source. What is held stays in force.
func TestPartialRefused(t *testing.T) {
	other, corp, stranger := newCA(t, "Other"), newCA(t, "Corp CA"), newCA(t, "Stranger")
	now := time.Now()
	held, next, good := other.sign(t, list(now, 1)), other.sign(t, list(now, 2)), corp.sign(t, list(now, 7, 3))
	future := draft{number: 7, this: now.Add(hour), next: now.Add(2 * hour)}
	for _, c := range []struct {
		name string
		body []byte
		want bool // the CA is undetermined
	}{
		{"badly signed", append(bytes.Clone(next), broken(good)...), true},
		{"of version 1", append(bytes.Clone(next), versionOne(t, good)...), true},
		{"of version 1, of a CA that is not trusted", append(bytes.Clone(next), versionOne(t, stranger.sign(t, list(now, 1)))...), false},
		{"of an unknown algorithm", append(bytes.Clone(next), oldAlgorithm(good)...), true},
		{"from the future", append(bytes.Clone(next), corp.sign(t, future)...), true},
		{"good, beside one that goes back", append(other.sign(t, list(now.Add(-hour), 1)), good...), true},
		{"no list", append(bytes.Clone(next), sequence()...), true},
		{"cut off, DER", append(bytes.Clone(next), good[:100]...), true},
		{"cut off, PEM", allButLast(30, pemOf(next, good)), true},
		{"a certificate among them", append(pemType("CERTIFICATE", other.Raw), pemOf(next, good)...), true},
		{"too many", bytes.Repeat(next, 5), true},
		{"the next of what is held, cut off", next[:100], false},
		{"the next of what is held, cut off, PEM", allButLast(30, pemOf(next)), false},
		{"the next of what is held, badly signed", broken(next), false},
		{"of a CA that is not trusted", stranger.sign(t, list(now, 1)), false},
		{"a page", []byte("<html><body>maintenance</body></html>"), false},
		{"nothing", nil, false},
	} {
		t.Run(c.name, func(t *testing.T) { refusePart(t, []ca{other, corp}, held, c.body, good, c.want) })
	}
}

// refusePart has a source give a list of other, and then body, which is refused.
func refusePart(t *testing.T, trusted []ca, held, body, good []byte, want bool) {
	t.Helper()
	state, undetermined := Fresh, []string(nil)
	if want {
		state, undetermined = Partial, []string{"Corp CA"}
	}
	b := newBench(t, Limits{Lists: 4}, trusted...)
	b.serve(held, "ETag", `"1"`)
	b.load(url1)
	b.undeterminedAre()
	calls := b.calls()
	b.serve(body)
	err := b.Refresh(t.Context(), url1)
	if err == nil {
		t.Fatal("it was not refused")
	}
	b.holds("Other 1")
	b.is(state, strings.TrimPrefix(err.Error(), url1+": "))
	b.undeterminedAre(undetermined...)
	if called := b.calls() > calls; called != want {
		t.Errorf("Changed was called: %t, want %t", called, want)
	}

	// A restart without the source knows as much.
	again := newBench(t, Limits{Lists: 4}, trusted...)
	again.memory = b.memory
	again.build(again.cfg)
	again.load(url1)
	again.holds("Other 1")
	again.is(state, "connection refused")
	again.undeterminedAre(undetermined...)

	// So does one on which the source has again what it had before.
	b.on(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("If-None-Match") == `"1"` {
			return reply(304, nil), nil
		}
		return reply(200, held, "ETag", `"1"`), nil
	})
	if err := b.Refresh(t.Context(), url1); err != nil {
		t.Fatal(err)
	}
	b.is(Fresh, "")
	b.undeterminedAre()
	if kept := b.memory.kept[url1].Unused; kept == nil || len(kept) > 0 {
		t.Errorf("the copy has %+v beside it, want an empty list", kept)
	}

	again.serve(append(bytes.Clone(held), good...))
	if err := again.Refresh(t.Context(), url1); err != nil {
		t.Fatal(err)
	}
	again.holds("Other 1", "Corp CA 7")
	again.undeterminedAre()
}

// A source whose list cannot be used is asked again soon, as one whose list lapsed, and the log tells of both changes.
func TestPartialIsAskedAgain(t *testing.T) {
	other, corp := newCA(t, "Other"), newCA(t, "Corp CA")
	synctest.Test(t, func(t *testing.T) {
		b, now := newBench(t, Limits{}, other, corp), time.Now()
		held, good := other.sign(t, list(now, 1)), corp.sign(t, list(now, 7))
		b.serve(append(bytes.Clone(held), newCA(t, "Corp CA").sign(t, list(now, 7))...))
		b.load(url1)
		b.run()
		sleep(hour)
		if all := gaps(b.requests()); len(all) < 10 || slices.Max(all) > 5*time.Minute {
			t.Errorf("requests %s apart, want five minutes at most", all)
		}
		b.serve(append(bytes.Clone(held), good...))
		sleep(5 * time.Minute)
		b.undeterminedAre()
		b.is2(t, Fresh)
		got := b.log.taken()
		if len(got) != 2 || !strings.Contains(got[0], "state=partial") || !strings.Contains(got[0], "trouble=refused") || !strings.Contains(got[1], "state=fresh") {
			t.Errorf("log %q, want one line for each state", got)
		}
	})
}

// What was set aside is of a CA that is trusted later: it is undetermined from then on, also when the source cannot be had, or says that
// nothing changed.
func TestPartialTrustedLater(t *testing.T) {
	other, corp := newCA(t, "Other"), newCA(t, "Corp CA")
	now := time.Now()
	whole := append(other.sign(t, list(now, 1)), corp.sign(t, list(now, 7))...)
	unlessKnown := func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("If-None-Match") != "" {
			return reply(304, nil), nil
		}
		return reply(200, whole, "ETag", `"1"`), nil
	}
	b := newBench(t, Limits{}, other)
	b.on(unlessKnown)
	b.load(url1)
	b.is(Fresh, "none of the trusted")
	b.down()
	b.trust(other, corp)
	if err := b.Reverify(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.is(Partial, "none of the trusted")
	b.undeterminedAre("Corp CA")

	again := newBench(t, Limits{}, other, corp)
	again.memory = b.memory
	again.build(again.cfg)
	again.on(unlessKnown)
	again.load(url1)
	again.holds("Other 1", "Corp CA 7")
	again.undeterminedAre()
}

// A copy of an earlier version does not tell what came beside it, so the whole is asked for.
func TestCopyOfAnEarlierVersion(t *testing.T) {
	other, corp := newCA(t, "Other"), newCA(t, "Corp CA")
	now := time.Now()
	b := newBench(t, Limits{}, other, corp)
	held := other.sign(t, list(now, 1))
	b.memory.kept[url1] = Kept{DER: held, ETag: `"1"`, FetchedAt: now}
	b.on(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("If-None-Match") != "" {
			return reply(304, nil), nil
		}
		return reply(200, append(bytes.Clone(held), corp.sign(t, list(now, 7))...), "ETag", `"1"`), nil
	})
	b.load(url1)
	b.holds("Other 1", "Corp CA 7")
}

// A copy that is damaged leaves the CAs undetermined that it may have been of.
func TestPartialCopy(t *testing.T) {
	other, corp := newCA(t, "Other"), newCA(t, "Corp CA")
	now := time.Now()
	held, good := other.sign(t, list(now, 1)), corp.sign(t, list(now, 7))
	for name, der := range map[string][]byte{"cut off": good[:100], "badly signed": broken(good), "no list": sequence()} {
		b := newBench(t, Limits{}, other, corp)
		b.memory.kept[url1] = Kept{DER: append(bytes.Clone(held), der...), Unused: []Unused{}}
		b.load(url1)
		b.holds("Other 1")
		if st := b.Status()[0]; st.State != Partial {
			t.Errorf("%s: state %q, want %q", name, st.State, Partial)
		}
		b.undeterminedAre("Corp CA")
	}
	// What another process keeps after the one that holds the copies was started is in force at once.
	synctest.Test(t, func(t *testing.T) {
		b, now := newBench(t, Limits{}, other, corp), time.Now()
		b.build(Config{Network: &outbound.Network{Transport: b}, Now: time.Now, Log: slog.New(slog.DiscardHandler), Elsewhere: func() bool { return true }})
		keep := func(unused ...Unused) {
			t.Helper()
			k := Kept{DER: other.sign(t, draft{number: 1, this: now.Add(-hour), next: now.Add(day)}), FetchedAt: now, Unused: unused}
			if before := b.memory.kept[url1].DER; before != nil {
				k.DER = before
			}
			if err := b.memory.SaveList(t.Context(), url1, k); err != nil {
				t.Fatal(err)
			}
			b.Brought()
			sleep(time.Second)
		}
		b.load(url1)
		b.run()
		keep()
		b.is(Fresh, "")
		b.requests()
		keep(Unused{Issuer: corp.RawSubject, Why: "the signature is bad", Refused: true})
		b.is(Partial, "the signature is bad")
		b.undeterminedAre("Corp CA")
		keep(Unused{Issuer: corp.RawSubject, Why: "set aside"})
		b.is(Partial, "set aside")
		keep()
		b.is(Fresh, "")
		if asked := b.requests(); len(asked) > 0 {
			t.Errorf("asked at %s, and another process is there for that", asked)
		}
	})
}

// What is in force when Memory fails stays so; what was refused is in the status nevertheless.
func TestPartialBrokenMemory(t *testing.T) {
	other, corp := newCA(t, "Other"), newCA(t, "Corp CA")
	now := time.Now()
	b := newBench(t, Limits{}, other, corp)
	held := other.sign(t, list(now, 1))
	b.serve(held)
	b.load(url1)
	b.memory.fail(errors.New("the store is full"))
	b.serve(append(other.sign(t, list(now, 2)), broken(corp.sign(t, list(now, 7)))...))
	if err := b.Refresh(t.Context(), url1); err == nil {
		t.Fatal("it was not refused")
	}
	b.holds("Other 1")
	b.is(Partial, "signature")
	b.undeterminedAre("Corp CA")
	// The CA was renewed: its list stays, though nothing can be read back.
	renewed := other.renewed(t, commonName(tags.PrintableString, "OTHER"), "renewed")
	b.trust(renewed, corp)
	if err := b.Reverify(t.Context()); err == nil {
		t.Error("no error without Memory")
	}
	b.holds("Other 1")
}

// A list goes back, and one is missing, also when its issuer is spelled in another way.
func TestSpelledFollows(t *testing.T) {
	corp, other := newCA(t, "Corp CA"), newCA(t, "Other")
	spelled := corp.renewed(t, commonName(tags.PrintableString, "corp  ca"), "another")
	now := time.Now()
	b := newBench(t, Limits{}, corp, other)
	b.serve(corp.sign(t, list(now, 5)))
	b.load(url1)
	for body, want := range map[string]string{
		string(spelled.sign(t, list(now.Add(-time.Minute), 4))): "rollback",
		string(other.sign(t, list(now, 1))):                     "is missing",
	} {
		b.serve([]byte(body))
		if err := b.Refresh(t.Context(), url1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	// The CA that is trusted was renewed, and spells its name so: what is held is not that of a CA that left.
	b.trust(spelled, other)
	b.serve(other.sign(t, list(now, 1)))
	if err := b.Refresh(t.Context(), url1); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("error %v, want one with %q", err, "is missing")
	}
	b.serve(spelled.sign(t, list(now.Add(time.Minute), 6)))
	if err := b.Refresh(t.Context(), url1); err != nil {
		t.Error(err)
	}
	b.holds("corp  ca 6")
}

// A delta list that spells the CA in another way extends the list that names it. One that cannot be used leaves nothing undetermined.
func TestSpelledFreshest(t *testing.T) {
	corp, other := newCA(t, "Corp CA"), newCA(t, "Other")
	spelled := corp.as(commonName(tags.PrintableString, "corp  ca"), "another")
	now := time.Now()
	base, delta := list(now, 5, 1), list(now, 6, 3)
	base.freshest, delta.base = []string{urlDelta}, 5
	b := newBench(t, Limits{}, corp, other)
	b.at(site{url1: corp.sign(t, base), urlDelta: spelled.sign(t, delta)})
	b.load(url1)
	b.holds("Corp CA 5", "Corp CA 6")
	b.at(site{url1: corp.sign(t, base), urlDelta: append(spelled.sign(t, delta), broken(other.sign(t, delta))...)})
	if err := b.Refresh(t.Context(), urlDelta); err == nil {
		t.Fatal("it was not refused")
	}
	b.holds("Corp CA 5", "Corp CA 6")
	b.undeterminedAre()
}
