package api

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.step.sm/crypto/pemutil"

	"omca/internal/wire"
	"omca/pki"
	"omca/usr"
)

// TestEncryptedKey: a private key comes with its password, which is nowhere
// afterwards.
func TestEncryptedKey(t *testing.T) {
	w := newWorld(t)
	key := must(pki.GenerateKey(pki.ECP256))(t)
	block := must(pemutil.Serialize(key, pemutil.WithPKCS8(true), pemutil.WithPassword([]byte("open sesame"))))(t)
	locked := pem.EncodeToMemory(block)
	patch := func(name, password string) result {
		text := string(locked)
		body := must(json.Marshal([]wire.KeyEdit{{Action: "add", Name: name, String: &text, Password: password}}))(t)
		return w.do(request{method: http.MethodPatch, target: at + "ns1/sec/web/data", by: "root", body: string(body)})
	}
	patch("private_key", "").refused(http.StatusBadRequest, "encrypted", "--password-file")
	patch("private_key", "close sesame").refused(http.StatusBadRequest, "wrong password")
	patch("note", "open sesame").refused(http.StatusBadRequest, `"note"`, "only private_key")
	w.do(request{method: http.MethodPost, target: at + "ns1/sec/web/data/key?name=private_key", by: "root", body: string(locked), media: "text/plain"}).
		refused(http.StatusBadRequest, "encrypted")
	if a := w.do(request{target: at + "ns1/sec/web/data/keys", by: "root"}); strings.Contains(string(a.body), "private_key") {
		t.Errorf("a key that was refused is there: %s", a.body)
	}
	text := string(locked)
	twice := []wire.KeyEdit{{Action: "add", Name: "private_key", String: &text, Password: "open sesame"}, {Action: "change", Name: "private_key", String: &text, Password: "open sesame"}}
	w.do(request{method: http.MethodPatch, target: at + "ns1/sec/web/data", by: "root", body: string(must(json.Marshal(twice))(t))}).
		refused(http.StatusBadRequest, "one encrypted key at a time")
	patch("private_key", "open sesame").want(http.StatusNoContent)
	if logged := w.log.take(); strings.Contains(logged, "sesame") {
		t.Errorf("the password is in the log: %s", logged)
	}
}

// TestDecryptingOneAtATime: a key waits for the one before it, is not read when its
// caller has gone meanwhile, and is refused when too many wait.
func TestDecryptingOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := must(pki.GenerateKey(pki.ECP256))(t)
		locked := pem.EncodeToMemory(must(pemutil.Serialize(key, pemutil.WithPKCS8(true), pemutil.WithPassword([]byte("open sesame"))))(t))
		d := &door{}
		leave := must(d.decrypting.enter(t.Context()))(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, mostDecrypting)
		for range mostDecrypting - 1 {
			go func() {
				_, err := d.decrypted(ctx, "private_key", locked, "open sesame")
				done <- err
			}()
		}
		synctest.Wait()
		if len(done) != 0 {
			t.Errorf("%d did not wait", len(done))
		}
		var quota *usr.QuotaError
		patient, over := context.WithTimeout(t.Context(), time.Minute)
		defer over()
		if _, err := d.decrypted(patient, "private_key", locked, "open sesame"); !errors.As(err, &quota) || quota.After != decryptedSoon {
			t.Errorf("one more than may wait: %v", err)
		}
		cancel()
		for range mostDecrypting - 1 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("a caller that has gone: %v", err)
			}
		}
		leave()
		if _, err := d.decrypted(t.Context(), "private_key", locked, "open sesame"); err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
}

// TestEncryptedKeyIsLookedAtLate: where there is no right, or no object, no key is read.
func TestEncryptedKeyIsLookedAtLate(t *testing.T) {
	w := newWorld(t)
	key := must(pki.GenerateKey(pki.ECP256))(t)
	text := string(pem.EncodeToMemory(must(pemutil.Serialize(key, pemutil.WithPKCS8(true), pemutil.WithPassword([]byte("open sesame"))))(t)))
	// Its password is wrong, which is said by the reader: any other answer came before.
	for path, status := range map[string]int{"ns1/sec/absent": http.StatusNotFound, "ns2/sec/web": http.StatusForbidden, "system/sec/jwt": http.StatusForbidden} {
		body := must(json.Marshal([]wire.KeyEdit{{Action: "add", Name: "private_key", String: &text, Password: "close sesame"}}))(t)
		w.do(request{method: http.MethodPatch, target: at + path + "/data", by: "admin1", body: string(body)}).want(status)
	}
}
