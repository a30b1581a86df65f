package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// emptyServer is a Go server with the TLS of a daemon, in a process of its own.
// Its handler is empty, but for /bare: there it does with the request what a
// daemon cannot do without, the bare pipeline and one sync.
type emptyServer struct {
	address string
	cmd     *exec.Cmd
}

// emptyConfig is what the process is told, in a file.
type emptyConfig struct{ Address, Chain, Key, Trust, Dir string }

// startEmpty runs the empty server with the certificate and the trust of d.
func (d *daemon) startEmpty(ctx context.Context) (*emptyServer, error) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := emptyConfig{Address: probe.Addr().String(), Dir: d.b.dir}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		to        *string
		path, key string
	}{
		{&c.Chain, "system/sec/cert", "certificate_chain"}, {&c.Key, "system/sec/cert", "private_key"}, {&c.Trust, "system/sec/ca", "certificate"},
	} {
		text, err := d.omca(ctx, part.path, "key", "decode", "--name", part.key)
		if err != nil {
			return nil, err
		}
		*part.to = string(text)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(d.home, "empty.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &emptyServer{address: c.Address, cmd: exec.CommandContext(ctx, self, "empty-server", file)}
	s.cmd.Stderr = os.Stderr
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if err = get(d.http(), "https://"+s.address+"/"); err == nil {
			return s, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("the empty server does not answer: %w", err), s.cmd.Process.Kill())
}

func (s *emptyServer) stop() {
	if err := s.cmd.Process.Kill(); err == nil {
		_ = s.cmd.Wait() // it was killed, and says so
	}
}

// serveEmpty is the process.
func serveEmpty(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c emptyConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	pair, err := tls.X509KeyPair([]byte(c.Chain), []byte(c.Key))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.Trust)) {
		return errors.New("no CA certificate")
	}
	handler := http.NewServeMux()
	handler.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
	if err := handleBare(handler, c.Dir); err != nil {
		return err
	}
	server := &http.Server{
		Addr:      c.Address,
		Handler:   handler,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool},
	}
	return server.ListenAndServeTLS("", "")
}

// handleBare adds /bare: PEM in, PEM out, one page synced between.
func handleBare(mux *http.ServeMux, dir string) error {
	floor, err := newBare()
	if err != nil {
		return err
	}
	disk, err := newSyncer(dir, "bare")
	if err != nil {
		return err
	}
	mux.HandleFunc("/bare", func(w http.ResponseWriter, r *http.Request) {
		request, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		cert, err := floor.issue(request)
		if err == nil {
			_, err = disk.sync()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(cert) // who asked measures, and would see
	})
	return nil
}
