package omca

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"omca/internal/openid"
)

// openedHome returns an authority in a home of its own.
func openedHome(t *testing.T) *Server {
	t.Helper()
	s, err := Open(t.Context(), Config{Home: filepath.Join(t.TempDir(), "home"), NodeName: "node1"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask calls the API in process, as root, and returns the status and the answer.
func (s *Server) ask(t *testing.T, method, target string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://omca"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := s.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// TestStaplerPanics: work that panics in the background does not end the process, is
// told of, and goes on. The stapler did, for a responder that was half built.
func TestStaplerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openedHome(t)
		ask := s.stapler.ask
		var left atomic.Int64
		left.Store(3)
		s.stapler.ask = func(ctx context.Context, path string) (*staple, error) {
			if left.Add(-1) >= 0 {
				var responder *Server
				responder.Leave()
			}
			return ask(ctx, path)
		}
		c, err := s.TLSConfig(t.Context(), "ns1/sec/web", "web.example.com") // it panics once, and the config is good
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // the second time at once, the third after a second
		synctest.Wait()
		if n := left.Load(); n != 0 {
			t.Fatalf("%d panics are left after 2 s", n)
		}
		_, diagnosis := s.ask(t, http.MethodGet, "/api/doctor")
		if !strings.Contains(diagnosis, `"check":"panic"`) || !strings.Contains(diagnosis, `task \"staples\"`) || !strings.Contains(diagnosis, "3 times") {
			t.Errorf("doctor: %s", diagnosis)
		}
		_, metrics := s.ask(t, http.MethodGet, "/metrics")
		if !strings.Contains(metrics, `omca_background_panics_total{task="staples"} 3`) {
			t.Errorf("metrics: %s", metrics)
		}
		for _, text := range []string{diagnosis, metrics} {
			if strings.Contains(text, ".go:") {
				t.Errorf("the stack is told to callers: %s", text)
			}
		}
		time.Sleep(2 * time.Second) // the next pause
		synctest.Wait()
		if pair, err := c.GetCertificate(nil); err != nil || len(pair.OCSPStaple) == 0 {
			t.Errorf("no staple once the stapler goes on: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// breakOpenID has each change of the cluster's keywords panic, until it is called
// with what it returned.
func (s *Server) breakOpenID(with *openid.Verifier) (was *openid.Verifier) {
	s.swapping.Lock()
	defer s.swapping.Unlock()
	was, s.openid = s.openid, with
	return was
}

// TestWatchPanics: a change over which the watch panics is applied when it goes on,
// and the commit returns then; when it never does, commits end and so does the
// daemon, with the reason.
func TestWatchPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openedHome(t)
		change := func(value string) <-chan int {
			answered := make(chan int, 1)
			go func() {
				status, _ := s.ask(t, http.MethodPatch, "/api/cluster/config?set=cluster.vip%3D"+value)
				answered <- status
			}()
			return answered
		}
		verifier := s.breakOpenID(nil)
		answered := change("192.0.2.1")
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		select {
		case status := <-answered:
			t.Fatalf("the commit returned with %d before its change was applied", status)
		default:
		}
		s.breakOpenID(verifier)
		if status := <-answered; status != http.StatusOK {
			t.Errorf("once the watch goes on: %d", status)
		}
		if counts := s.panics.Counts(); len(counts) != 1 || counts[0].Task != taskWatch || counts[0].Count != 1 {
			t.Errorf("panics %v", counts)
		}
		select {
		case err := <-s.failure:
			t.Errorf("the daemon ends though the watch goes on: %v", err)
		default:
		}

		time.Sleep(2 * time.Minute) // it went well
		began := time.Now()
		s.breakOpenID(nil)
		if status := <-change("192.0.2.2"); status < http.StatusInternalServerError {
			t.Errorf("a commit that nothing will show: %d", status)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it returned after %s", took)
		}
		synctest.Wait()
		select {
		case err := <-s.failure:
			if !strings.Contains(err.Error(), "not followed any more") || !strings.Contains(err.Error(), "panicked") {
				t.Errorf("the daemon ends with %v", err)
			}
		default:
			t.Error("the daemon goes on, and follows nothing")
		}
		s.breakOpenID(verifier)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestNoBareGoroutine: what runs beside the requests in this package goes through run,
// which guards it. A request in process has a guard of its own.
func TestNoBareGoroutine(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for at := range goroutines(file) {
			found++
			if !slices.Contains([]string{"background.go", "local.go"}, name) {
				t.Errorf("%s: a goroutine that Server.run did not start", set.Position(at))
			}
		}
	}
	if found < 4 {
		t.Errorf("%d goroutines found: the test looks for something else", found)
	}
}

// goroutines yields where a file starts one.
func goroutines(file *ast.File) func(func(token.Pos) bool) {
	return func(yield func(token.Pos) bool) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				return yield(n.Pos())
			case *ast.CallExpr:
				if method, ok := n.Fun.(*ast.SelectorExpr); ok && (method.Sel.Name == "Go" || method.Sel.Name == "AfterFunc") {
					return yield(n.Pos())
				}
			}
			return true
		})
	}
}
