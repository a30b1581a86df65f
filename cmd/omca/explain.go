package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"omca/internal/hint"
)

// connectTimeout bounds looking at the certificate of a server.
const connectTimeout = 10 * time.Second

// showCertificate explains the listener's certificate, or the one that the argument names: a file, a server, a serial number.
func showCertificate(ctx context.Context, c *call) error {
	what := c.flags.Args().First()
	if what == "" {
		return showState(ctx, c)
	}
	c.target = "" // it is not about an object
	_, missing := os.Stat(what)
	switch {
	case what == "-" || missing == nil:
		text, err := c.readSource(ctx, what, maxRequest)
		if err != nil {
			return err
		}
		return hint.With(aboutSource(what, c.explain(text)), "a file with a certificate is expected, PEM or DER")
	case isAddress(what):
		text, err := presented(ctx, what)
		if err != nil {
			return err
		}
		return c.explain(text)
	}
	serial, ok := parseSerial(what)
	if !ok {
		return hint.With(fmt.Errorf("%q is no serial number, no HOST:PORT, and no file: %w", what, errNotFound), "\"%s certificate ls\" lists the serial numbers", c.name)
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	record, err := api.CertificateBySerial(ctx, serial)
	if err != nil {
		return about(serial, err)
	}
	if c.format == "table" || c.format == "csv" || record.Certificate == "" {
		return emitOne(c.printer, record.Record, recordColumns())
	}
	return c.explainRecord(record)
}

// isAddress tells HOST:PORT from a serial number with colons, whose groups are pairs of digits.
func isAddress(what string) bool {
	host, port, err := net.SplitHostPort(what)
	if err != nil || host == "" {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// parseSerial reads a serial number: hexadecimal, colons, upper case and 0x allowed.
func parseSerial(text string) (string, bool) {
	serial := strings.ToLower(strings.ReplaceAll(text, ":", ""))
	serial = strings.TrimPrefix(serial, "0x")
	if serial == "" || len(serial) > 40 || strings.Trim(serial, "0123456789abcdef") != "" {
		return "", false
	}
	return cmp.Or(strings.TrimLeft(serial, "0"), "0"), true
}

// presented returns the certificates that a server presents, PEM. They are only looked at, so nothing is verified.
func presented(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: host}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	defer conn.Close() // nothing was written
	var text []byte
	if c, ok := conn.(*tls.Conn); ok {
		for _, cert := range c.ConnectionState().PeerCertificates {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
	}
	return text, nil
}
