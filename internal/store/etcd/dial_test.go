package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"omca/internal/store/etcd"
	"omca/internal/store/etcd/etcdtest"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]etcd.Address{
		"etcd://h1":                          {Servers: []string{"h1:2379"}, Prefix: "omca/"},
		"etcd://h1,h2:99,192.0.2.1/":         {Servers: []string{"h1:2379", "h2:99", "192.0.2.1:2379"}, Prefix: "omca/"},
		"etcds://[::1]:1,[2001:db8::1]/a/b/": {Servers: []string{"[::1]:1", "[2001:db8::1]:2379"}, Prefix: "a/b/", TLS: true},
	} {
		a, err := etcd.ParseAddress(text)
		if err != nil || !slices.Equal(a.Servers, want.Servers) || a.Prefix != want.Prefix || a.TLS != want.TLS {
			t.Errorf("%s: %+v, %v, expected %+v", text, a, err, want)
		}
	}
	for _, text := range []string{"", "h1", "http://h1", "etcd://", "etcd://h1,,h2", "etcd://:2379", "etcd://a:b:c", "etcd://me:geheim@h1", "etcd://h1?x=1", "etcd://h1/a b"} {
		if a, err := etcd.ParseAddress(text); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

// authority signs certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	write(t, a.file, "CERTIFICATE", a.cert.Raw)
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// leaf makes a certificate for 127.0.0.1, and returns its files.
func (a *authority) leaf(t *testing.T) (cert, key string) {
	t.Helper()
	c, k := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, "CERTIFICATE", c.Raw)
	write(t, key, "PRIVATE KEY", der)
	return cert, key
}

func write(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// try dials and asks, for so long.
func try(t *testing.T, r etcd.Remote, within time.Duration) error {
	t.Helper()
	client, err := etcd.Dial(r)
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := etcd.New(etcd.Config{Client: client, Prefix: "omca/", Why: r.Why})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, _, err = s.Origin(ctx)
	return err
}

// An etcd with TLS, which wants a client certificate and a password.
func TestDial(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	serverCert, serverKey := ours.leaf(t)
	secure := func(c *embed.Config) {
		c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = serverCert, serverKey
		c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = ours.file, true
		for _, all := range [][]url.URL{c.ListenClientUrls, c.AdvertiseClientUrls} {
			all[0].Scheme = "https"
		}
	}
	cluster := etcdtest.Start(t, 1, secure)
	cert, key := ours.leaf(t)
	good := etcd.Remote{
		Address: etcd.Address{Servers: cluster.Addresses(), Prefix: "omca/", TLS: true},
		CAFile:  ours.file, CertFile: cert, KeyFile: key,
	}
	admin, err := etcd.Dial(good)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	for _, do := range []func() error{
		func() error { _, err := admin.UserAdd(t.Context(), "root", "r"); return err },
		func() error { _, err := admin.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := admin.UserAdd(t.Context(), "omca", "correct horse"); return err },
		func() error { _, err := admin.RoleAdd(t.Context(), "omca"); return err },
		func() error {
			_, err := admin.RoleGrantPermission(t.Context(), "omca", "omca/", clientv3.GetPrefixRangeEnd("omca/"), clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := admin.UserGrantRole(t.Context(), "omca", "omca"); return err },
		func() error { _, err := admin.AuthEnable(t.Context()); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	file := func(text string, mode os.FileMode) string {
		name := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good.User, good.PasswordFile = "omca", file("correct horse\nnot this\n", 0o600)
	if err := try(t, good, time.Minute); err != nil {
		t.Fatalf("as it should be: %v", err)
	}
	otherCert, otherKey := theirs.leaf(t)
	for name, tt := range map[string]struct {
		change func(*etcd.Remote)
		want   string
	}{
		"another CA":               {func(r *etcd.Remote) { r.CAFile = theirs.file }, "unknown authority"},
		"no CA in the file":        {func(r *etcd.Remote) { r.CAFile = key }, "no certificate"},
		"no CA file":               {func(r *etcd.Remote) { r.CAFile += ".not" }, "no such file"},
		"no TLS":                   {func(r *etcd.Remote) { r.TLS = false }, "etcds://"},
		"no client certificate":    {func(r *etcd.Remote) { r.CertFile, r.KeyFile = "", "" }, "certificate"},
		"another's certificate":    {func(r *etcd.Remote) { r.CertFile, r.KeyFile = otherCert, otherKey }, "certificate"},
		"a certificate without":    {func(r *etcd.Remote) { r.KeyFile = "" }, "together"},
		"another's key":            {func(r *etcd.Remote) { r.KeyFile = otherKey }, "private key"},
		"a wrong password":         {func(r *etcd.Remote) { r.PasswordFile = file("wrong horse", 0o600) }, "lets us not in"},
		"an empty password":        {func(r *etcd.Remote) { r.PasswordFile = file("\n", 0o600) }, "empty"},
		"a password of all":        {func(r *etcd.Remote) { r.PasswordFile = file("correct horse", 0o644) }, "0644"},
		"a user without":           {func(r *etcd.Remote) { r.PasswordFile = "" }, "together"},
		"a password without":       {func(r *etcd.Remote) { r.User = "" }, "together"},
		"nobody":                   {func(r *etcd.Remote) { r.User, r.PasswordFile = "", "" }, "lets us not in"},
		"a server that is another": {func(r *etcd.Remote) { r.Servers = []string{"localhost:" + port(cluster.Addresses()[0])} }, "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			tt.change(&r)
			var err error
			for within := time.Second; within < time.Minute; within *= 3 { // a busy machine does not find out in a second
				if err = try(t, r, within); err == nil || strings.Contains(err.Error(), tt.want) {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "horse") {
				t.Errorf("%v, expected %q in it", err, tt.want)
			}
		})
	}
}

func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}
