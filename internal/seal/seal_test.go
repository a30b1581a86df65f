package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// testMaster is a file master without a file; n tells masters apart.
func testMaster(t testing.TB, n byte) Master {
	t.Helper()
	return must[*fileMaster](t)(NewFileMaster([KeySize]byte{n}))
}

func testKeyring(t testing.TB) *Keyring {
	t.Helper()
	return must[*Keyring](t)(NewKeyring(testMaster(t, 1)))
}

const testKey = "key/system/sec/ca/private_key"

func TestSeal(t *testing.T) {
	k := testKeyring(t)
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("secret"), 100_000)} {
		sealed := must[[]byte](t)(k.Seal(testKey, plain))
		if len(plain) > 1 && bytes.Contains(sealed, plain[:6]) {
			t.Error("the sealed value shows the plaintext")
		}
		if got, err := k.Open(testKey, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes became %d, %v", len(plain), len(got), err)
		}
		if again := must[[]byte](t)(k.Seal(testKey, plain)); bytes.Equal(sealed, again) {
			t.Error("sealing twice gives the same bytes")
		}
	}
	if _, err := k.Seal("", []byte("x")); err == nil {
		t.Error("sealed for no place")
	}
}

func TestOpenMoved(t *testing.T) {
	k := testKeyring(t)
	sealed := must[[]byte](t)(k.Seal(testKey, []byte("hunter2")))
	for _, key := range []string{"", "key/system/sec/ca/private_ke", testKey + "x", "key/system/sec/cert/private_key"} {
		if got, err := k.Open(key, sealed); !errors.Is(err, ErrSeal) || got != nil {
			t.Errorf("opens at %q: %q, %v", key, got, err)
		}
	}
}

func TestOpenTampered(t *testing.T) {
	k := testKeyring(t)
	sealed := must[[]byte](t)(k.Seal(testKey, []byte("hunter2")))
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		_, err := k.Open(testKey, bad)
		want := ErrSeal
		if i > 0 && i < sealHeader {
			want = ErrDataKey
		}
		if !errors.Is(err, want) {
			t.Errorf("byte %d changed: %v, want %v", i, err, want)
		}
		if _, err := k.Open(testKey, sealed[:i]); err == nil {
			t.Errorf("cut to %d bytes: opens", i)
		}
	}
	if _, err := k.Open(testKey, append(sealed, 0)); !errors.Is(err, ErrSeal) {
		t.Errorf("a byte more: %v", err)
	}
	other := keyID{1}
	k.keys[other] = k.keys[k.current]
	if _, err := k.Open(testKey, slices.Replace(bytes.Clone(sealed), 1, sealHeader, other[:]...)); !errors.Is(err, ErrSeal) {
		t.Errorf("the same key under another name: %v", err)
	}
	if _, err := testKeyring(t).Open(testKey, sealed); !errors.Is(err, ErrDataKey) {
		t.Errorf("under another keyring: %v", err)
	}
}

func TestRotate(t *testing.T) {
	first := testKeyring(t)
	old := must[[]byte](t)(first.Seal(testKey, []byte("old")))
	second := must[*Keyring](t)(first.Rotate())
	fresh := must[[]byte](t)(second.Seal(testKey, []byte("new")))
	if first.current == second.current || len(first.keys) != 1 {
		t.Errorf("%v became %v", first, second)
	}
	if _, err := first.Open(testKey, fresh); !errors.Is(err, ErrDataKey) {
		t.Errorf("the old keyring and a new value: %v", err)
	}
	loaded := must[*Keyring](t)(LoadKeyring(must[[]byte](t)(second.Marshal()), testMaster(t, 1)))
	if loaded.current != second.current {
		t.Errorf("read back as %v, was %v", loaded, second)
	}
	for _, k := range []*Keyring{second, loaded} {
		for want, sealed := range map[string][]byte{"old": old, "new": fresh} {
			if got, err := k.Open(testKey, sealed); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", want, got, err)
			}
		}
	}
}

func TestRewrap(t *testing.T) {
	k := testKeyring(t)
	sealed := must[[]byte](t)(k.Seal(testKey, []byte("x")))
	moved := must[[]byte](t)(must[*Keyring](t)(k.Rewrap(testMaster(t, 2))).Marshal())
	if _, err := LoadKeyring(moved, testMaster(t, 1)); !errors.Is(err, ErrMaster) {
		t.Errorf("the old master: %v", err)
	}
	loaded := must[*Keyring](t)(LoadKeyring(moved, testMaster(t, 2)))
	if got, err := loaded.Open(testKey, sealed); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	// Whoever has the old ring key must not read what was written under the new.
	var j KeyringJSON
	if err := json.Unmarshal(moved, &j); err != nil {
		t.Fatal(err)
	}
	if _, err := k.ring.open(j.Keys, keyringAAD(j)); err == nil {
		t.Error("the ring key is the old one")
	}
}

func TestRewrapFails(t *testing.T) {
	broken := errors.New("token removed")
	if _, err := testKeyring(t).Rewrap(failingMaster{broken}); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
}

type failingMaster struct{ err error }

func (m failingMaster) Wrap([]byte) ([]byte, error)   { return nil, m.err }
func (m failingMaster) Unwrap([]byte) ([]byte, error) { return nil, m.err }
func (failingMaster) ID() string                      { return "failing" }

func TestLoadKeyringRefuses(t *testing.T) {
	good := must[[]byte](t)(testKeyring(t).Marshal())
	edit := func(change func(*KeyringJSON)) []byte {
		var j KeyringJSON
		if err := json.Unmarshal(good, &j); err != nil {
			t.Fatal(err)
		}
		change(&j)
		return must[[]byte](t)(json.Marshal(j))
	}
	master := testMaster(t, 1)
	for want, data := range map[string][]byte{
		"not JSON":              good[1:],
		"version 0":             []byte(`{}`),
		"version 5":             edit(func(j *KeyringJSON) { j.Version = Reads + 1 }),
		"data keys: sealed val": edit(func(j *KeyringJSON) { j.Version = 1 }), // a store is not passed off as an older one
		"wrong master key":      edit(func(j *KeyringJSON) { j.Master = "file:other" }),
		"did not wrap this":     edit(func(j *KeyringJSON) { j.Wrapped[5] ^= 1 }),
		"the data keys: sealed": edit(func(j *KeyringJSON) { j.Keys[5] ^= 1 }),
		"data keys: sealed value": edit(func(j *KeyringJSON) {
			j.Wrapped = must[[]byte](t)(master.Wrap(must[[]byte](t)(master.Unwrap(j.Wrapped))))
		}),
		"gave a key of 5 bytes":   edit(func(j *KeyringJSON) { j.Wrapped = must[[]byte](t)(master.Wrap([]byte("short"))) }),
		"bytes, at most 1048576":  bytes.Repeat([]byte(" "), maxKeyring+1),
		"keys: sealed value does": edit(func(j *KeyringJSON) { j.Wrapped = must[[]byte](t)(master.Wrap(make([]byte, KeySize))) }),
	} {
		k, err := LoadKeyring(data, master)
		if err == nil || !strings.Contains(err.Error(), want) || k != nil {
			t.Errorf("%v, %v, want an error with %q", k, err, want)
		}
	}
}

func TestLoadKeysRefuses(t *testing.T) {
	id, key := base64.StdEncoding.EncodeToString(make([]byte, 8)), base64.StdEncoding.EncodeToString(make([]byte, KeySize))
	for _, text := range []string{
		``, `{}`, `{"current":"` + id + `"}`, `{"current":"` + id + `","keys":[{"id":"` + id + `","key":"AAAA"}]}`,
		`{"current":"","keys":[{"id":"` + id + `","key":"` + key + `"}]}`, `{"current":"` + id + `","keys":[{"id":"AA==","key":"` + key + `"}]}`,
	} {
		k := &Keyring{keys: make(map[keyID]dataKey)}
		if err := k.loadKeys([]byte(text)); err == nil || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestKeyringIsSilent looks for keys in whatever form in everything that can be
// printed of a keyring.
func TestKeyringIsSilent(t *testing.T) {
	k := testKeyring(t)
	secret := k.keys[k.current].key
	text := string(must[[]byte](t)(k.Marshal()))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		text += fmt.Sprintf(verb, k)
	}
	text += fmt.Sprint(struct{ K *Keyring }{k})
	for _, form := range []string{
		string(secret[:]), hex.EncodeToString(secret[:]), strings.ToUpper(hex.EncodeToString(secret[:])),
		base64.StdEncoding.EncodeToString(secret[:]), fmt.Sprint(secret), strings.Trim(fmt.Sprint(secret), "[]"),
	} {
		if strings.Contains(text, form) {
			t.Errorf("found %q", form)
		}
	}
	if want := `keyring of "file:`; !strings.Contains(fmt.Sprint(k), want) {
		t.Errorf("printed as %q", fmt.Sprint(k))
	}
}

func FuzzOpen(f *testing.F) {
	k := testKeyring(f)
	good := must[[]byte](f)(k.Seal(testKey, []byte("hunter2")))
	f.Add(testKey, good)
	f.Add(testKey, good[:sealHeader])
	f.Add("", []byte{sealVersion})
	f.Fuzz(func(t *testing.T, key string, sealed []byte) {
		got, err := k.Open(key, sealed)
		if err == nil && (key != testKey || !bytes.Equal(sealed, good)) {
			t.Errorf("%q opens at %q as %q", sealed, key, got)
		}
		if err != nil && !errors.Is(err, ErrSeal) && !errors.Is(err, ErrDataKey) {
			t.Errorf("%v is neither ErrSeal nor ErrDataKey", err)
		}
	})
}

func FuzzLoadKeyring(f *testing.F) {
	master := testMaster(f, 1)
	f.Add(must[[]byte](f)(testKeyring(f).Marshal()))
	f.Add([]byte(`{"version":1,"master":"` + master.ID() + `","wrapped":"","keys":""}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := LoadKeyring(data, master)
		if (k == nil) != (err != nil) {
			t.Errorf("%v with %v", k, err)
		}
	})
}
