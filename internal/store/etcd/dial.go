package etcd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"omca/internal/home"
)

const (
	defaultPort   = "2379"
	defaultPrefix = "omca"
)

// An Address is what a URL says: etcd://HOST[:PORT][,HOST[:PORT]…][/PREFIX], with
// the scheme etcds for TLS.
type Address struct {
	Servers []string // host:port
	Prefix  string   // ends in a slash
	TLS     bool
}

// ParseAddress reads a URL. There is no place in it for a name or a password.
func ParseAddress(text string) (Address, error) {
	bad := func(why string) (Address, error) {
		return Address{}, fmt.Errorf("store %q: %s, expected etcd://HOST:PORT,HOST:PORT/PREFIX, or etcds:// for TLS", redact(text), why)
	}
	scheme, rest, found := strings.Cut(text, "://")
	a := Address{TLS: scheme == "etcds"}
	switch {
	case !found || scheme != "etcd" && scheme != "etcds":
		return bad("the scheme is not etcd")
	case strings.Contains(rest, "@"):
		return bad("it names a user: that is what --store-user and --store-password-file are for")
	case strings.ContainsAny(rest, "?# \t\n"):
		return bad("it goes on after the prefix")
	}
	hosts, prefix, _ := strings.Cut(rest, "/")
	if prefix = strings.Trim(prefix, "/"); prefix == "" {
		prefix = defaultPrefix
	}
	a.Prefix = prefix + "/"
	for h := range strings.SplitSeq(hosts, ",") {
		server, err := hostPort(h)
		if err != nil {
			return bad(err.Error())
		}
		a.Servers = append(a.Servers, server)
	}
	return a, nil
}

// redact leaves out what stands where a URL has a password.
func redact(text string) string {
	if _, after, found := strings.Cut(text, "@"); found {
		return "…@" + after
	}
	return text
}

func hostPort(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), defaultPort
	}
	if host == "" || strings.Contains(host, ":") && net.ParseIP(host) == nil {
		return "", fmt.Errorf("%q is not the name of a server", text)
	}
	return net.JoinHostPort(host, port), nil
}

// Remote says how to talk to an etcd that somebody else runs.
type Remote struct {
	Address
	CAFile            string // PEM of who signed the servers' certificates; "" takes those that the system trusts
	CertFile, KeyFile string // PEM of the client's certificate; both or none
	User              string
	PasswordFile      string // its first line; with User
}

// Dial returns a client. It reads the files, and connects when it is used.
func Dial(r Remote) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints: r.Servers,
		// The etcd client would tell of every attempt to connect.
		Logger: zap.NewNop(),
		// A server that is gone without a word, and one that comes back, are noticed within seconds.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: []grpc.DialOption{
			grpc.WithNoProxy(),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
				MinConnectTimeout: 3 * time.Second,
			}),
		},
	}
	var err error
	if c.TLS, err = r.tls(); err != nil {
		return nil, err
	}
	if (r.User == "") != (r.PasswordFile == "") {
		return nil, errors.New("store: a user and a password file go together")
	}
	var user, password string
	if r.User != "" {
		if user, password, err = r.credentials(); err != nil {
			return nil, err
		}
		// With a password New would log in, and fail while no server answers. With a
		// token, which nobody takes, the first call does it.
		c.Token = "none yet"
	}
	client, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("etcd at %s: %w", strings.Join(r.Servers, ", "), err)
	}
	client.Token, client.Username, client.Password = "", user, password
	return client, nil
}

// Check reads the files, as Dial does.
func (r Remote) Check() error {
	_, err := r.tls()
	if err == nil && r.User != "" {
		_, _, err = r.credentials()
	}
	return err
}

func (r Remote) credentials() (user, password string, err error) {
	text, err := readSecret(r.PasswordFile)
	if err != nil {
		return "", "", err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if line = bytes.TrimRight(line, "\r"); len(line) == 0 {
		return "", "", fmt.Errorf("store: password file %s: its first line is empty", r.PasswordFile)
	}
	return r.User, string(line), nil
}

// tls returns nil where there is none.
func (r Remote) tls() (*tls.Config, error) {
	if !r.TLS {
		if r.CAFile != "" || r.CertFile != "" || r.KeyFile != "" {
			return nil, errors.New("store: there are TLS files, and the URL begins with etcd://, expected etcds://")
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.CAFile != "" {
		text, err := os.ReadFile(r.CAFile)
		if err != nil {
			return nil, fmt.Errorf("store: CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("store: CA file %s: no certificate in it, PEM expected", r.CAFile)
		}
	}
	if (r.CertFile == "") != (r.KeyFile == "") {
		return nil, errors.New("store: a client certificate and its key go together")
	}
	if r.CertFile == "" {
		return config, nil
	}
	if _, err := r.pair(); err != nil {
		return nil, err
	}
	// Read at each handshake: files that are renewed count from the next connection on.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.pair() }
	return config, nil
}

func (r Remote) pair() (*tls.Certificate, error) {
	cert, err := os.ReadFile(r.CertFile)
	if err != nil {
		return nil, fmt.Errorf("store: client certificate: %w", err)
	}
	key, err := readSecret(r.KeyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("store: client certificate %s with key %s: %w", r.CertFile, r.KeyFile, err)
	}
	return &pair, nil
}

// Why says what is wrong with a server, as far as connecting to it shows.
func (r Remote) Why(ctx context.Context, server string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", server)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing was written
	config, err := r.tls()
	if err != nil || config == nil {
		return err
	}
	if config.ServerName, _, err = net.SplitHostPort(server); err != nil {
		return err
	}
	config.NextProtos = []string{"h2"}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	// That our certificate is refused shows in the first read (TLS 1.3).
	if end, bounded := ctx.Deadline(); bounded {
		if err := secure.SetReadDeadline(end); err != nil {
			return err
		}
	}
	_, err = secure.Read(make([]byte, 1))
	return err
}

// readSecret reads a file that nobody but its owner can read.
func readSecret(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer f.Close() // it was read only
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := home.CheckMode(info, home.OthersUse, "read it"); err != nil {
		return nil, fmt.Errorf("store: %s: %w", name, err)
	}
	if info.Size() > 1<<20 {
		return nil, fmt.Errorf("store: %s has %d bytes, at most a megabyte expected", name, info.Size())
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil && info.Size() > 0 {
		return nil, fmt.Errorf("store: reading %s: %w", name, err)
	}
	return text, nil
}
