package api

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/pemutil"

	"omca/pki"
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
		body := must(json.Marshal([]KeyEdit{{Action: "add", Name: name, String: &text, Password: password}}))(t)
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
	twice := []KeyEdit{{Action: "add", Name: "private_key", String: &text, Password: "open sesame"}, {Action: "change", Name: "private_key", String: &text, Password: "open sesame"}}
	w.do(request{method: http.MethodPatch, target: at + "ns1/sec/web/data", by: "root", body: string(must(json.Marshal(twice))(t))}).
		refused(http.StatusBadRequest, "one encrypted key at a time")
	patch("private_key", "open sesame").want(http.StatusNoContent)
	if logged := w.log.take(); strings.Contains(logged, "sesame") {
		t.Errorf("the password is in the log: %s", logged)
	}
}

// TestDecryptingOneAtATime: a key waits for the one before it, and is not read for
// somebody who has gone meanwhile.
func TestDecryptingOneAtATime(t *testing.T) {
	key := must(pki.GenerateKey(pki.ECP256))(t)
	locked := pem.EncodeToMemory(must(pemutil.Serialize(key, pemutil.WithPKCS8(true), pemutil.WithPassword([]byte("open sesame"))))(t))
	d := &door{}
	d.decrypting.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	cancel()
	go func() {
		_, err := d.decrypted(ctx, "private_key", locked, "open sesame")
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(100 * time.Millisecond): // without the lock it is back at once
	}
	d.decrypting.Unlock()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("for somebody who has gone: %v", err)
	}
	if _, err := d.decrypted(t.Context(), "private_key", locked, "open sesame"); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
