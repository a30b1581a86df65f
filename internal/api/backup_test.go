package api

import (
	"bytes"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store/mem"
)

func TestBackup(t *testing.T) {
	w := newWorld(t)
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(recipient string) result {
		return w.do(request{method: http.MethodPost, target: "/api/backup", by: "root", body: `{"recipient":"` + recipient + `"}`})
	}
	for to, opens := range map[string]age.Identity{mine.Recipient().String(): mine, hybrid.Recipient().String(): hybrid} {
		res := ask(to)
		res.want(http.StatusOK)
		plain, err := age.Decrypt(bytes.NewReader(res.body), opens)
		if err != nil {
			t.Fatal(err)
		}
		master, err := seal.CreateFileMaster(filepath.Join(t.TempDir(), "seal.key"))
		if err != nil {
			t.Fatal(err)
		}
		into := mem.New()
		r, err := registry.Restore(t.Context(), registry.RestoreConfig{Into: into, Master: master, Now: time.Now}, plain)
		if err != nil || r.Cluster == "" {
			t.Errorf("restored: %+v, %v", r, err)
		}
		if _, err := into.Get(t.Context(), "obj/system/sec/ca"); err != nil {
			t.Errorf("the CA is not in the backup: %v", err)
		}
	}
	for _, bad := range []string{"", "age1", "AGE-SECRET-KEY-1QQ", strings.Repeat("a", 5000), "ssh-ed25519 AAAA"} {
		res := ask(bad)
		res.want(http.StatusBadRequest)
		if !strings.Contains(string(res.body), "public key of age") || strings.Contains(string(res.body), "SECRET") {
			t.Errorf("recipient %.20q: %s", bad, res.body)
		}
	}
}
