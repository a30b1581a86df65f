package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"omca/internal/hint"
)

func TestFileMaster(t *testing.T) {
	name := filepath.Join(t.TempDir(), "seal.key")
	if _, err := OpenFileMaster(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	made := must[Master](t)(CreateFileMaster(name))
	wrapped := must[[]byte](t)(made.Wrap([]byte("key")))
	read := must[Master](t)(OpenFileMaster(name))
	if read.ID() != made.ID() {
		t.Errorf("ID %q, was %q", read.ID(), made.ID())
	}
	if got, err := read.Unwrap(wrapped); err != nil || string(got) != "key" {
		t.Errorf("unwrapped %q, %v", got, err)
	}
	other := must[Master](t)(CreateFileMaster(name + "2"))
	if _, err := other.Unwrap(wrapped); !errors.Is(err, ErrMaster) || other.ID() == made.ID() {
		t.Errorf("%q unwraps for %q: %v", other.ID(), made.ID(), err)
	}
	if _, err := read.Unwrap(nil); !errors.Is(err, ErrMaster) {
		t.Errorf("nothing unwraps: %v", err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestCreateFileMasterKeeps(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "seal.key")
	must[Master](t)(CreateFileMaster(name))
	before := must[[]byte](t)(os.ReadFile(name))
	if _, err := CreateFileMaster(name); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if after := must[[]byte](t)(os.ReadFile(name)); !bytes.Equal(before, after) {
		t.Error("the file was replaced")
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if _, err := CreateFileMaster(link); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a symbolic link: %v", err)
	}
	if _, err := CreateFileMaster(filepath.Join(dir, "no", "seal.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(dir))
	if len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestOpenFileMasterRefuses(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(make([]byte, KeySize))
	dir := t.TempDir()
	good := sealKeyPrefix + key + "\n"
	for i, tt := range []struct {
		text string
		mode os.FileMode
		want string
	}{
		{good, 0o640, "has mode 0640, so others can touch it"},
		{good, 0o602, "has mode 0602"},
		{"", 0o600, "does not hold a seal key"},
		{"# only a comment\n", 0o600, "does not hold a seal key"},
		{key + "\n", 0o600, "does not hold a seal key"},
		{good + good, 0o600, "does not hold a seal key"},
		{sealKeyPrefix + key[:20] + "\n", 0o600, "does not hold a seal key"},
		{sealKeyPrefix + key[:len(key)-1] + "\n", 0o600, "does not hold a seal key"},
		{good + strings.Repeat("#", maxSealKey), 0o600, "more than 4096 bytes"},
	} {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, tt.mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		_, err := OpenFileMaster(name)
		if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), key[:20]) {
			t.Errorf("%q: %v, want ErrMaster with %q", tt.text, err, tt.want)
		}
		if tt.mode != 0o600 && !strings.HasPrefix(hint.Of(err), "chmod 600 ") {
			t.Errorf("hint %q", hint.Of(err))
		}
	}
	whole, link := filepath.Join(dir, "whole"), filepath.Join(dir, "link")
	must[Master](t)(CreateFileMaster(whole))
	if err := os.Symlink(whole, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, dir} {
		if _, err := OpenFileMaster(name); !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "is not a regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// cheapMaster is a passphrase master that tests can afford.
func cheapMaster(passphrase string) *passphraseMaster {
	return &passphraseMaster{[]byte(passphrase), cost{Time: 1, Memory: 8 << 10, Threads: 1}}
}

func TestPassphraseMaster(t *testing.T) {
	m := cheapMaster("correct horse")
	k := must[*Keyring](t)(NewKeyring(m))
	sealed := must[[]byte](t)(k.Seal(testKey, []byte("x")))
	text := must[[]byte](t)(k.Marshal())
	// The cost is that of the wrapped key, not of whoever unwraps it.
	right := must[Master](t)(NewPassphraseMaster([]byte("correct horse")))
	if got, err := must[*Keyring](t)(LoadKeyring(text, right)).Open(testKey, sealed); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	_, err := LoadKeyring(text, cheapMaster("battery staple"))
	if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "the passphrase is not the one") || strings.Contains(err.Error(), "staple") {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := LoadKeyring(text, testMaster(t, 1)); !errors.Is(err, ErrMaster) {
		t.Errorf("a file for a passphrase: %v", err)
	}
	a, b := must[[]byte](t)(m.Wrap([]byte("key"))), must[[]byte](t)(m.Wrap([]byte("key")))
	if bytes.Equal(a[wrapHeader-saltSize:wrapHeader], b[wrapHeader-saltSize:wrapHeader]) {
		t.Error("the salt is always the same")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, m); got != "passphrase" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	_, err = NewPassphraseMaster([]byte("1234567"))
	if !errors.Is(err, ErrPassphrase) || !strings.Contains(err.Error(), "7 bytes, at least 8") {
		t.Errorf("a short passphrase: %v", err)
	}
}

// TestPassphraseCost fails when what is made for production is cheap, or when a
// wrapped key can ask for more than the machine has.
func TestPassphraseCost(t *testing.T) {
	if c := wrapCost(); c.Time < 3 || c.Memory < 64<<10 || c.check() != nil {
		t.Errorf("cost %+v", c)
	}
	m := cheapMaster("correct horse")
	good := must[[]byte](t)(m.Wrap([]byte("key")))
	for name, change := range map[string]func([]byte){
		"no passes":   func(b []byte) { binary.BigEndian.PutUint32(b[1:], 0) },
		"many passes": func(b []byte) { binary.BigEndian.PutUint32(b[1:], 17) },
		"no memory":   func(b []byte) { binary.BigEndian.PutUint32(b[5:], 1) },
		"much memory": func(b []byte) { binary.BigEndian.PutUint32(b[5:], 1<<20+1) },
		"no lanes":    func(b []byte) { b[9] = 0 },
		"many lanes":  func(b []byte) { b[9] = 17 },
	} {
		bad := bytes.Clone(good)
		change(bad)
		if _, err := m.Unwrap(bad); err == nil || !strings.Contains(err.Error(), "the wrapped key asks for") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, at := range []int{0, wrapHeader - 1, wrapHeader, len(good) - 1} {
		bad := bytes.Clone(good)
		bad[at] ^= 1
		if _, err := m.Unwrap(bad); !errors.Is(err, ErrMaster) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
	if _, err := m.Unwrap(good[:wrapHeader-1]); !errors.Is(err, ErrMaster) {
		t.Errorf("cut short: %v", err)
	}
}

// A master key goes to another member as it lies in the file, and into a fresh file
// there. A passphrase goes nowhere.
func TestExportMaster(t *testing.T) {
	dir := t.TempDir()
	made := must[Master](t)(CreateFileMaster(filepath.Join(dir, "a")))
	text := must[[]byte](t)(ExportMaster(made))
	if got := must[[]byte](t)(os.ReadFile(filepath.Join(dir, "a"))); !bytes.Equal(got, text) {
		t.Error("it is not what is in the file")
	}
	there := filepath.Join(dir, "b")
	if err := ImportFileMaster(there, text); err != nil {
		t.Fatal(err)
	}
	if read := must[Master](t)(OpenFileMaster(there)); read.ID() != made.ID() {
		t.Errorf("ID %q, was %q", read.ID(), made.ID())
	}
	if err := ImportFileMaster(there, text); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	for _, bad := range []string{"", "OMCA-SEAL-KEY-1 AAAA", strings.Repeat("#\n", maxSealKey)} {
		if err := ImportFileMaster(filepath.Join(dir, "c"), []byte(bad)); !errors.Is(err, ErrMaster) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
	if _, err := ExportMaster(must[Master](t)(NewPassphraseMaster([]byte("correct horse")))); !errors.Is(err, ErrMaster) {
		t.Errorf("a passphrase: %v", err)
	}
	key := text[bytes.LastIndexByte(text[:len(text)-1], ' ')+1 : len(text)-1]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if said := fmt.Sprintf(verb, made); strings.Contains(said, string(key)) || said != made.ID() {
			t.Errorf("%s says %q", verb, said)
		}
	}
}
