package usr_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"omca/usr"
)

// cheap is a cost that a test can pay many times.
func cheap() usr.PasswordCost { return usr.PasswordCost{Memory: 64, Passes: 1, Threads: 1} }

func passwords(t testing.TB, cost usr.PasswordCost) *usr.Passwords {
	t.Helper()
	p, err := usr.NewPasswords(cost)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func hash(t testing.TB, p *usr.Passwords, password string) usr.PasswordHash {
	t.Helper()
	h, err := p.Hash(t.Context(), []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestNormalPassword(t *testing.T) {
	for given, want := range map[string]string{
		"correct horse":            "correct horse",
		" both ends ":              " both ends ",
		"caf\u00e9":                "caf\u00e9",
		"cafe\u0301":               "caf\u00e9", // composed
		"a\u00a0b\u3000c":          "a b c",     // RFC 8265, 4.2.2: any space is the ASCII one
		"PassWord":                 "PassWord",
		"\u03c0\u00df\u5bc6\u7801": "\u03c0\u00df\u5bc6\u7801",
		"a:b:c":                    "a:b:c",
		"Henry\u2163":              "Henry\u2163", // no compatibility mapping
		strings.Repeat("x", 1024):  strings.Repeat("x", 1024),
	} {
		got, err := usr.NormalPassword([]byte(given))
		if err != nil || string(got) != want {
			t.Errorf("NormalPassword(%.40q) = %.40q, %v, want %.40q", given, got, err, want)
		}
	}
	for given, why := range map[string]string{
		"":                         "empty",
		"sesame\x00":               "control",
		"\x00":                     "control",
		"sesame\n":                 "line break",
		"sesame\r\n":               "line break",
		"a\tb":                     "control",
		"a\x7fb":                   "control",
		"a\u0085b":                 "RFC 8265",
		"a\u200bb":                 "RFC 8265", // zero width space
		"sesame\xff":               "UTF-8",
		"\xed\xa0\x80":             "UTF-8", // a surrogate
		strings.Repeat("x", 1025):  "1025 bytes",
		strings.Repeat("x", 1<<20): "1048576 bytes",
	} {
		_, err := usr.NormalPassword([]byte(given))
		if !errors.Is(err, usr.ErrInvalid) || !strings.Contains(fmt.Sprint(err), why) {
			t.Errorf("NormalPassword(%.40q): %v, want ErrInvalid with %q", given, err, why)
		}
		if len(given) > 3 && strings.Contains(fmt.Sprint(err), given[:4]) {
			t.Errorf("the error quotes the password: %v", err)
		}
	}
}

func TestNormalName(t *testing.T) {
	for given, want := range map[string]string{"alice": "alice", "Alice": "alice", "\uff41lice": "alice", "a.b-1": "a.b-1"} {
		if got, err := usr.NormalName(given); err != nil || got != want {
			t.Errorf("NormalName(%q) = %q, %v, want %q", given, got, err, want)
		}
	}
	for _, given := range []string{"", "al ice", "alice\x00", "../alice", "\u0430lice", strings.Repeat("a", 64), strings.Repeat("a", 1<<20), "a\xff", "a/b", "alice\n"} {
		if _, err := usr.NormalName(given); !errors.Is(err, usr.ErrInvalid) {
			t.Errorf("NormalName(%.40q): %v, want ErrInvalid", given, err)
		}
	}
}

func TestPasswords(t *testing.T) {
	p := passwords(t, cheap())
	h := hash(t, p, "caf\u00e9 au lait")
	if again := hash(t, p, "caf\u00e9 au lait"); bytes.Equal(h.Encode(), again.Encode()) {
		t.Error("two hashes of one password are the same: there is no salt")
	}
	for password, right := range map[string]bool{
		"caf\u00e9 au lait": true, "cafe\u0301 au\u00a0lait": true,
		"cafe au lait": false, "Caf\u00e9 au lait": false, "caf\u00e9 au lait ": false, "": false, "caf\u00e9 au lait\x00": false, "caf\u00e9 au lait\n": false,
	} {
		better, err := p.Verify(t.Context(), []byte(password), h)
		if (err == nil) != right || !right && !errors.Is(err, usr.ErrUnauthenticated) {
			t.Errorf("%q: %v, want right: %v", password, err, right)
		}
		if !better.IsZero() {
			t.Errorf("%q: a better hash than one's own", password)
		}
	}
}

// The hash of one version is read by the next.
func TestHashEncodes(t *testing.T) {
	p := passwords(t, cheap())
	h := hash(t, p, "sesame")
	text := string(h.Encode())
	if !strings.HasPrefix(text, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("hash is %s", text)
	}
	back, err := usr.ParsePasswordHash([]byte(text))
	if err != nil || string(back.Encode()) != text || back.Scheme() != "argon2id" {
		t.Errorf("read back: %v, %s", err, back.Encode())
	}
	// Made by the reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 24
	known, err := usr.ParsePasswordHash([]byte("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"))
	if err != nil {
		t.Fatal(err)
	}
	if better, err := p.Verify(t.Context(), []byte("password"), known); err != nil || better.IsZero() {
		t.Errorf("the hash of another implementation: %v, to be made anew: %v", err, !better.IsZero())
	}
}

// What is kept changes with the parameters, and with where it came from.
func TestHashedAnew(t *testing.T) {
	p := passwords(t, cheap())
	old := hash(t, passwords(t, usr.PasswordCost{Memory: 32, Passes: 2, Threads: 1}), "sesame")
	text, err := bcrypt.GenerateFromPassword([]byte("sesame"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	imported, err := usr.ParsePasswordHash(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []usr.PasswordHash{old, imported} {
		if _, err := p.Verify(t.Context(), []byte("Sesame"), h); !errors.Is(err, usr.ErrUnauthenticated) {
			t.Errorf("%s: wrong password: %v", h.Scheme(), err)
		}
		better, err := p.Verify(t.Context(), []byte("sesame"), h)
		if err != nil || !strings.HasPrefix(string(better.Encode()), "$argon2id$v=19$m=64,t=1,p=1$") {
			t.Fatalf("%s: %v, better is %s", h.Scheme(), err, better.Encode())
		}
		if again, err := p.Verify(t.Context(), []byte("sesame"), better); err != nil || !again.IsZero() {
			t.Errorf("%s: the better one: %v, better still: %v", h.Scheme(), err, !again.IsZero())
		}
	}
}

// bcrypt looks at 72 bytes: with more of them anything would do behind.
func TestLongPasswordOfBcrypt(t *testing.T) {
	p := passwords(t, cheap())
	text, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("x", 72)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	h, err := usr.ParsePasswordHash(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Verify(t.Context(), []byte(strings.Repeat("x", 72)), h); err != nil {
		t.Errorf("72 bytes: %v", err)
	}
	if _, err := p.Verify(t.Context(), []byte(strings.Repeat("x", 72)+"anything"), h); !errors.Is(err, usr.ErrUnauthenticated) {
		t.Errorf("80 bytes: %v, want ErrUnauthenticated", err)
	}
}

func TestParsePasswordHashRefuses(t *testing.T) {
	const salt, sum = "c29tZXNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	argon := func(params string) string { return "$argon2id$v=19$" + params + "$" + salt + "$" + sum }
	for text, why := range map[string]string{
		"":       "want one that begins with",
		"sesame": "want one that begins with",
		"$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum: "want one that begins with",
		"$1$abc$def": "want one that begins with",
		"$argon2id$": "want $argon2id$v=19",
		"$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum:       "version",
		argon("m=4194304,t=1,p=1"):                              "4194304 KiB",
		argon("m=65537,t=1,p=1"):                                "65537 KiB",
		argon("m=7,t=1,p=1"):                                    "7 KiB",
		argon("m=64,t=17,p=1"):                                  "17 passes",
		argon("m=64,t=0,p=1"):                                   "0 passes",
		argon("m=64,t=1,p=0"):                                   "0 threads",
		argon("m=128,t=1,p=9"):                                  "9 threads",
		argon("m=65536,t=16,p=1"):                               "in all",
		argon("m=99999999999,t=1,p=1"):                          "parameters",
		argon("m=64,t=1,p=257"):                                 "parameters",
		argon("m=+64,t=1,p=1"):                                  "parameters",
		argon("m=064,t=1,p=1"):                                  "parameters",
		argon("t=1,m=64,p=1"):                                   "parameters",
		argon("m=64,t=1"):                                       "parameters",
		argon("m=64,t=1,p=1,keyid=a"):                           "parameters",
		argon("m=64,t=1,p=1") + "$":                             "want $argon2id$v=19",
		"$argon2id$v=19$m=64,t=1,p=1$c2FsdA$" + sum:             "salt",
		"$argon2id$v=19$m=64,t=1,p=1$!!!!$" + sum:               "salt",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$c2FsdA":       "sum",
		"$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + sum + "=": "sum",
		"$2b$10$tooshort":                                       "bcrypt",
		"$2b$14$" + strings.Repeat("a", 53):                     "cost 14",
		"$2b$31$" + strings.Repeat("a", 53):                     "cost 31",
		"$2b$10$" + strings.Repeat("a", 54):                     "bcrypt",
		"$2b$10$" + strings.Repeat("\n", 53):                    "bcrypt",
		"$2x$10$" + strings.Repeat("a", 53):                     "want one that begins with",
		"$argon2id$" + strings.Repeat("x", 1<<20):               "bytes",
	} {
		h, err := usr.ParsePasswordHash([]byte(text))
		if !errors.Is(err, usr.ErrInvalid) || !strings.Contains(fmt.Sprint(err), why) || !h.IsZero() {
			t.Errorf("%.60q: %v, want ErrInvalid with %q", text, err, why)
		}
	}
}

func FuzzParsePasswordHash(f *testing.F) {
	f.Add([]byte("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"))
	f.Add([]byte("$2b$10$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"))
	f.Add([]byte("$argon2id$v=19$m=4294967295,t=1,p=1$$"))
	f.Fuzz(func(t *testing.T, text []byte) {
		h, err := usr.ParsePasswordHash(text)
		if err != nil {
			if !h.IsZero() {
				t.Errorf("%q: a hash beside an error", text)
			}
			return
		}
		if again, err := usr.ParsePasswordHash(h.Encode()); err != nil || !bytes.Equal(again.Encode(), h.Encode()) {
			t.Errorf("%q became %q: %v", text, h.Encode(), err)
		}
	})
}

// A hash gets into no log and no message.
func TestHashHides(t *testing.T) {
	h := hash(t, passwords(t, cheap()), "sesame")
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "hash", h)
	fmt.Fprintf(&b, "%v %+v %#v %s", h, h, h, h)
	if strings.Contains(b.String(), "$argon2id") || strings.Contains(b.String(), "sum") {
		t.Errorf("printed: %s", b.String())
	}
}

// Whoever does not exist costs what everybody costs: the same number of hashes, of the same parameters.
func TestSameWorkForNobody(t *testing.T) {
	p := passwords(t, cheap())
	h := hash(t, p, "sesame")
	work := func(h usr.PasswordHash, password string) int64 {
		before := p.Derived()
		if _, err := p.Verify(t.Context(), []byte(password), h); !errors.Is(err, usr.ErrUnauthenticated) {
			t.Errorf("%q: %v, want ErrUnauthenticated", password, err)
		}
		return p.Derived() - before
	}
	for _, password := range []string{"wrong", "a\x00b", "", strings.Repeat("x", 2000), strings.Repeat("x", 1024)} {
		known, unknown := work(h, password), work(usr.PasswordHash{}, password)
		if known != unknown {
			t.Errorf("%.10q: %d hashes for somebody, %d for nobody", password, known, unknown)
		}
	}
	if got := work(usr.PasswordHash{}, "wrong"); got != 1 {
		t.Errorf("%d hashes for nobody, want 1", got)
	}
}

// The clock agrees, coarsely: the medians are within a factor of two. A hash that is not made is a factor of thousands.
func TestSameTimeForNobody(t *testing.T) {
	p := passwords(t, usr.PasswordCost{Memory: 2048, Passes: 2, Threads: 1})
	h := hash(t, p, "sesame")
	var known, unknown []time.Duration
	for range 15 {
		for _, one := range []struct {
			h   usr.PasswordHash
			all *[]time.Duration
		}{{h, &known}, {usr.PasswordHash{}, &unknown}} {
			began := time.Now()
			if _, err := p.Verify(t.Context(), []byte("wrong"), one.h); err == nil {
				t.Fatal("the wrong password is right")
			}
			*one.all = append(*one.all, time.Since(began))
		}
	}
	slices.Sort(known)
	slices.Sort(unknown)
	a, b := known[len(known)/2], unknown[len(unknown)/2]
	if a > 2*b || b > 2*a {
		t.Errorf("median of somebody %s, of nobody %s", a, b)
	}
}

// The default takes no more than it says, and is the floor of OWASP.
func TestDefaultCost(t *testing.T) {
	p := passwords(t, usr.PasswordCost{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h := hash(t, p, "sesame")
	runtime.ReadMemStats(&after)
	if !strings.HasPrefix(string(h.Encode()), "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash is %s", h.Encode())
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 21<<20 {
		t.Errorf("a hash takes %d bytes, want 19 MiB and little more", used)
	}
	if _, err := usr.NewPasswords(usr.PasswordCost{Memory: 1 << 30, Passes: 1, Threads: 1}); err == nil {
		t.Error("a cost of a terabyte is accepted")
	}
}

// However many come at once, a few are hashed and a few wait, and the others are told to come back. Whoever gives up stops waiting.
func TestManyAtOnce(t *testing.T) {
	p := passwords(t, usr.PasswordCost{Memory: 4096, Passes: 4, Threads: 1})
	h := hash(t, p, "sesame")
	before := p.Derived()
	var wg sync.WaitGroup
	var mu sync.Mutex
	busy, wrong := 0, 0
	gate := make(chan struct{})
	for range 500 {
		wg.Go(func() {
			<-gate
			_, err := p.Verify(t.Context(), []byte("wrong"), h)
			mu.Lock()
			defer mu.Unlock()
			var limited *usr.LimitedError
			switch {
			case errors.As(err, &limited) && errors.Is(err, usr.ErrLimited) && limited.After >= time.Second:
				busy++
			case errors.Is(err, usr.ErrUnauthenticated):
				wrong++
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	close(gate)
	wg.Wait()
	if busy == 0 || wrong == 0 || int64(wrong) != p.Derived()-before {
		t.Errorf("of 500 at once %d were looked at with %d hashes, and %d sent away", wrong, p.Derived()-before, busy)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 100 { // whichever is ready is chosen by chance
		if _, err := p.Verify(gone, []byte("sesame"), h); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("a caller who is gone: %v", err)
		}
	}
	if _, err := p.Verify(t.Context(), []byte("sesame"), h); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}
