package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A line is one keep-alive connection with HTTP/1.1 on it, in one goroutine. An
// http.Client hands each request to two others: on few processors what waking
// them takes would be taken for the server's.
type line struct {
	conn *tls.Conn
	from *bufio.Reader
}

// dial opens a line with the certificate of the daemon's user.
func (d *daemon) dial(address string) (*line, error) {
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: d.pool, Certificates: []tls.Certificate{d.client}, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	return &line{conn, bufio.NewReader(conn)}, nil
}

// post sends a body in one piece, and wants it taken.
func (l *line) post(path, media string, body []byte) error {
	if err := l.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	var request bytes.Buffer
	fmt.Fprintf(&request, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", path, media, len(body))
	request.Write(body)
	if _, err := l.conn.Write(request.Bytes()); err != nil {
		return err
	}
	r, err := http.ReadResponse(l.from, nil)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK && r.StatusCode != http.StatusCreated {
		return fmt.Errorf("%s: %s: %s", path, r.Status, answer)
	}
	return nil
}
