package omca

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"omca/internal/wire"
)

// BenchmarkWhoamiByToken is a call with a token that was seen before, as the handler answers it.
func BenchmarkWhoamiByToken(b *testing.B) {
	f := newFront(b)
	f.user("alice", "", "grant=guest:ns1")
	var pair wire.TokenPair
	for range 2000 { // its record is one of many
		if err := json.Unmarshal(f.root("POST", "/api/auth/token?subject=alice", "").Body.Bytes(), &pair); err != nil {
			b.Fatal(err)
		}
	}
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/whoami", http.NoBody)
	r.Header.Set("Authorization", "Bearer "+pair.AccessToken)
	for b.Loop() {
		w := httptest.NewRecorder()
		if f.s.handler.ServeHTTP(w, r); w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
