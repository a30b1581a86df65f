package listener

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// knowing is a client that speaks HTTP/2 without asking first (RFC 9113, 3.3), as OpenSVC's does on a unix socket.
func knowing(network, address string) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Timeout: patience, Transport: &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
}

// TestPriorKnowledge: HTTP/2 on the unix socket goes through the same hook, the same index and the same drain.
func TestPriorKnowledge(t *testing.T) {
	h := open(t)
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	type key struct{}
	inside, leave := make(chan struct{}), make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- h.ServePlain(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 || r.Context().Value(key{}) != "peer" {
				t.Errorf("%s with the hook's %v, want HTTP/2 with its peer", r.Proto, r.Context().Value(key{}))
			}
			if r.URL.Path == "/slow" {
				close(inside)
				<-leave
			}
			io.WriteString(w, "hello")
		}), func(ctx context.Context, c net.Conn) (context.Context, error) {
			_, err := PeerUID(c)
			return context.WithValue(ctx, key{}, "peer"), err
		})
	}()
	c := knowing("unix", ln.Addr().String())
	if resp, body := mustGet(t, c, "http://localhost/"); body != "hello" || resp.ProtoMajor != 2 {
		t.Errorf("got %q by %s", body, resp.Proto)
	}
	if n := h.Counts().Open; n != 1 {
		t.Errorf("%d connections are counted, want 1", n)
	}

	slow := make(chan string, 1)
	go func() {
		_, body, err := get(c, "http://localhost/slow")
		if err != nil {
			body = err.Error()
		}
		slow <- body
	}()
	within(t, inside, "the slow request")
	drained := make(chan error, 1)
	go func() { drained <- h.Shutdown(context.Background()) }()
	select {
	case err := <-drained:
		t.Errorf("Shutdown did not wait for the request in flight: %v", err)
	default:
	}
	close(leave)
	if body := within(t, slow, "the slow answer"); body != "hello" {
		t.Errorf("the request in flight got %q", body)
	}
	if err := within(t, drained, "Shutdown"); err != nil {
		t.Errorf("Shutdown says %v", err)
	}
	if err := within(t, served, "ServePlain"); err != nil {
		t.Errorf("ServePlain says %v", err)
	}
	if n := h.Counts().Open; n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestPriorKnowledgeElsewhere: a socket of the network that is read in the clear has HTTP/1.1 and no more.
func TestPriorKnowledgeElsewhere(t *testing.T) {
	h := open(t)
	plain := listen(t)
	go h.ServePlain(plain, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "PRI" { // the preface, which net/http hands on as if it were a request
			t.Errorf("a request got through: %s %s", r.Method, r.URL)
		}
		w.WriteHeader(http.StatusBadRequest)
	}), nil)
	if _, _, err := get(knowing("tcp", plain.Addr().String()), "http://localhost/"); err == nil {
		t.Error("a TCP port spoke HTTP/2 in the clear")
	}
}
