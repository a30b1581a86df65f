package seal

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestXAESVectors holds the cipher against the vectors of C2SP, XAES-256-GCM.md.
func TestXAESVectors(t *testing.T) {
	for _, tt := range []struct {
		key       byte // repeated
		aad, want string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x := must[*xaes](t)(newXAES([KeySize]byte(bytes.Repeat([]byte{tt.key}, KeySize))))
		nonce, plain := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM")
		aead, err := x.aead(nonce)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(aead.Seal(nil, nonce[12:], plain, []byte(tt.aad))); got != tt.want {
			t.Errorf("key %#x: %s, want %s", tt.key, got, tt.want)
		}
		sealed := append(nonce, must[[]byte](t)(hex.DecodeString(tt.want))...)
		if got, err := x.open(sealed, []byte(tt.aad)); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("key %#x: opened %q, %v", tt.key, got, err)
		}
	}
}
