package offline

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"omca/pki"
	"omca/pki/flocker"
	"omca/pki/flocker/flockertest"
)

const unitOfTests = "0b5d8a1e-3f0c-4f7e-9a55-7d1c2f3e4b6a"

// holder is a certificate that was made, with what is in its files.
type holder struct {
	name string
	cert *x509.Certificate
	flocker.Credential
}

// provisioned is a cluster with one holder of each role, made as an operator gets
// them, keys and all.
func provisioned(t *testing.T) (*Cluster, string, map[flocker.Role]holder) {
	t.Helper()
	m := quick()
	m.Generate = nil
	c, dir := initialized(t, m)
	control, err := c.CreateControl(t.Context(), dir, "control.example.com")
	if err != nil {
		t.Fatal(err)
	}
	user, err := c.CreateUser(t.Context(), dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := c.CreateNodes(t.Context(), dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	// [61] the expected files, and no others.
	expected := []string{"alice.crt", "alice.key", "cluster.crt", "cluster.key", "control-control.example.com.crt", "control-control.example.com.key"}
	for _, n := range nodes {
		expected = append(expected, n.Name+".crt", n.Name+".key")
	}
	slices.Sort(expected)
	if diff := cmp.Diff(expected, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	all := make(map[flocker.Role]holder)
	for role, made := range map[flocker.Role]Created{flocker.Control: control, flocker.User: user, flocker.Node: nodes[0]} {
		file := filepath.Join(dir, made.Name)
		credential, err := flocker.Load(filepath.Join(dir, CertificateFile), file+".crt", file+".key") // [3], [16], [19]
		if err != nil {
			t.Fatal(err)
		}
		all[role] = holder{made.Name, made.Certificate, credential}
	}
	return c, dir, all
}

// TestChecklist goes through what Flocker's own tests ask of every certificate.
func TestChecklist(t *testing.T) {
	c, dir, all := provisioned(t)
	root := c.Authority()
	for role, h := range all {
		cert := h.Certificate
		key, ok := h.Key.(*rsa.PrivateKey)
		public, okPublic := cert.PublicKey.(*rsa.PublicKey)
		if !ok || !okPublic {
			t.Fatalf("%s: keys of type %T and %T", role, h.Key, cert.PublicKey) // [13]
		}
		for item, right := range map[string]bool{
			"[1] public key":      pki.SameKey(cert.PublicKey, key.Public()),
			"[2] modulus":         public.N.Cmp(key.N) == 0,
			"[3] loads back":      cert.Equal(h.cert),
			"[10] unit":           cmp.Equal(cert.Subject.OrganizationalUnit, cert.Issuer.OrganizationalUnit) && len(cert.Issuer.OrganizationalUnit) == 1,
			"[11] issuer":         cert.Issuer.CommonName == "mycluster" && string(cert.RawIssuer) == string(root.RawSubject),
			"[12] start":          cert.NotBefore.Equal(begin()),
			"[12] expiry":         cert.NotAfter.Equal(begin().Add(630720000 * time.Second)),
			"[13] RSA 4096":       public.N.BitLen() == 4096 && public.E == 65537,
			"[13] signature":      cert.SignatureAlgorithm == x509.SHA256WithRSA,
			"version":             cert.Version == 3,
			"serial":              cert.SerialNumber.BitLen() > 152 && cert.SerialNumber.BitLen() <= 159,
			"subject":             len(cert.Subject.Names) == 2,
			"[20][22] cluster":    h.Cluster == root.Subject.OrganizationalUnit[0],
			"[17][21][23] name":   cert.Subject.CommonName == role.CommonName(h.Name) && h.Role == role,
			"signed by the CA":    cert.CheckSignatureFrom(root) == nil,
			"times are UTCTime":   times(t, cert) == 2,
			"no CA":               cert.BasicConstraintsValid && !cert.IsCA,
			"one PEM block, each": blocks(t, dir, h.name+".crt", "CERTIFICATE") && blocks(t, dir, h.name+".key", "PRIVATE KEY"),
			"[14] mode of key":    mode(t, dir, h.name+".key") == 0o600,
			"[15] mode of cert":   mode(t, dir, h.name+".crt") == 0o600,
		} {
			if !right {
				t.Errorf("%s: %s: %s, valid from %v until %v", role, item, cert.Subject, cert.NotBefore, cert.NotAfter)
			}
		}
	}
	user, control, node := all[flocker.User].Certificate, all[flocker.Control].Certificate, all[flocker.Node].Certificate
	if !slices.Equal(user.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || !pki.NamesOf(user).Empty() { // [18]
		t.Errorf("user: %v, %v", user.ExtKeyUsage, pki.NamesOf(user).Strings())
	}
	if all[flocker.User].Name != "alice" { // [19]
		t.Errorf("user %q", all[flocker.User].Name)
	}
	if names := pki.NamesOf(control).Strings(); !slices.Equal(names, []string{"DNS:control-service", "DNS:control.example.com"}) { // [24]
		t.Errorf("control: %v", names)
	}
	if !pki.NamesOf(node).Empty() || !slices.Contains(node.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || !slices.Contains(node.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		t.Errorf("node: %v, %v", pki.NamesOf(node).Strings(), node.ExtKeyUsage) // Docker's TLS port has it too
	}
}

// TestChecklistOfTheCA is the same for the CA.
func TestChecklistOfTheCA(t *testing.T) {
	m := quick()
	m.Generate = nil
	c, dir := initialized(t, m)
	root := c.Authority()
	again, err := m.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := flocker.ReadKey(filepath.Join(dir, KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	public, ok := root.PublicKey.(*rsa.PublicKey)
	if !ok {
		t.Fatalf("a key of type %T", root.PublicKey)
	}
	for item, right := range map[string]bool{
		"[26] files":            cmp.Equal(files(t, dir), []string{CertificateFile, KeyFile}),
		"[27][28] key":          pki.SameKey(root.PublicKey, key.Public()),
		"[29] loads back":       again.Authority().Equal(root),
		"[30] mode of key":      mode(t, dir, KeyFile) == 0o600,
		"[31] mode of cert":     mode(t, dir, CertificateFile) == 0o600,
		"[38] self-signed":      string(root.RawIssuer) == string(root.RawSubject) && root.CheckSignatureFrom(root) == nil,
		"[39] expiry":           root.NotBefore.Equal(begin()) && root.NotAfter.Equal(begin().Add(630720000*time.Second)),
		"[40] RSA 4096 SHA-256": public.N.BitLen() == 4096 && root.SignatureAlgorithm == x509.SHA256WithRSA,
		"version and times":     root.Version == 3 && times(t, root) == 2,
		"CA, of leaves only":    root.IsCA && root.MaxPathLen == 0 && root.MaxPathLenZero,
		"key usage":             root.KeyUsage == x509.KeyUsageCertSign|x509.KeyUsageCRLSign,
		"key identifiers":       len(root.SubjectKeyId) == 20 && string(root.SubjectKeyId) == string(root.AuthorityKeyId),
		"name":                  root.Subject.CommonName == "mycluster",
	} {
		if !right {
			t.Errorf("%s: %+v", item, root.Subject)
		}
	}
	other, _ := initialized(t, quick())
	if cmp.Equal(other.Authority().Subject.OrganizationalUnit, root.Subject.OrganizationalUnit) { // [41]
		t.Error("two clusters have one UUID")
	}
	given, err := quick().Initialize(t.Context(), t.TempDir(), "given", unitOfTests) // [42], [43]
	if err != nil || !cmp.Equal(given.Authority().Subject.OrganizationalUnit, []string{unitOfTests}) {
		t.Errorf("given UUID: %v", err)
	}
}

// [24], [25]: the names of the control service.
func TestControlNames(t *testing.T) {
	c, dir := initialized(t, quick())
	for host, names := range map[string][]string{
		"node1":               {"DNS:control-service", "DNS:node1"},
		"192.0.2.7":           {"DNS:control-service", "IP:192.0.2.7"},
		"2001:db8::1":         {"DNS:control-service", "IP:2001:db8::1"},
		"Control.Example.Com": {"DNS:control-service", "DNS:control.example.com"},
		"control-service":     {"DNS:control-service"},
	} {
		made, err := c.CreateControl(t.Context(), dir, host)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if got := pki.NamesOf(made.Certificate).Strings(); made.Name != "control-"+host || !slices.Equal(got, names) {
			t.Errorf("%s: %s has %v, want %v", host, made.Name, got, names)
		}
	}
}

// No name gets anything into a certificate or a directory that is not asked for.
func TestNamesThatCannotBe(t *testing.T) {
	c, dir := initialized(t, quick())
	before := files(t, dir)
	for _, host := range []string{"", "a,DNS:b", "a,b", "../x", "a/b", "/etc/passwd", "a b", "a\nb", "a\x00b", "IP:192.0.2.1", "URI:x", "host.", "..", "192.0.2.300", "fe80::1%eth0", strings.Repeat("a", 64), "a_b"} {
		_, err := c.CreateControl(t.Context(), dir, host)
		want(t, host, err, "Invalid hostname: ")
	}
	for _, user := range []string{
		"", "a/b", "../x", "a,CN=b", "a+b", `a\b`, `a"b`, "a=b", "<a>", "#a", "a;b", ".", "..", ".a", "-a", " a", "a ", "a\nb", "a\x1bb", "a\x00b",
		"cluster", strings.Repeat("a", 60),
	} {
		_, err := c.CreateUser(t.Context(), dir, user)
		want(t, user, err, "Invalid username: ")
	}
	for _, user := range []string{"\xff\xfe", "héloïse", "用户"} {
		_, err := c.CreateUser(t.Context(), dir, user)
		want(t, user, err, "Invalid username: Could not be converted to UTF-8")
	}
	for _, name := range []string{"", " a", "a\nb", strings.Repeat("a", 65)} {
		_, err := quick().Initialize(t.Context(), t.TempDir(), name, "")
		want(t, name, err, "Invalid cluster name: ")
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, user := range []string{"alice", "Alice Smith", "alice.smith", "alice@example.com", "a_b-c", strings.Repeat("a", 59)} {
		made, err := c.CreateUser(t.Context(), dir, user)
		if err != nil || made.Certificate.Subject.CommonName != "user-"+user || made.Name != user {
			t.Errorf("%q: %q, %v", user, made.Name, err)
		}
	}
}

// [4], [32] and the other errors of writing: the file, the reason, and nothing is
// left.
func TestWritingFails(t *testing.T) {
	c, dir := initialized(t, quick())
	user := func(where string) error { _, err := c.CreateUser(t.Context(), where, "alice"); return err }
	in := func(name string) string { return filepath.Join(dir, name) }
	const certificate, key = "Unable to write certificate file. ", "Unable to write private key file. "

	none := in("none")
	want(t, "[4] user in no directory", user(none), certificate+"No such file or directory "+none+"/alice.crt")
	_, err := c.CreateControl(t.Context(), none, "node1")
	want(t, "[4] control in no directory", err, certificate+"No such file or directory "+none+"/control-node1.crt")
	_, err = c.CreateNodes(t.Context(), none, 1)
	want(t, "[4] node in no directory", err, certificate+"No such file or directory "+none+"/")
	_, err = quick().Initialize(t.Context(), none, "x", "")
	want(t, "[32] CA in no directory", err, certificate+"No such file or directory "+none+"/cluster.crt")
	_, err = quick().Initialize(t.Context(), dir, "x", "")
	want(t, "CA over a CA", err, certificate+"File exists "+in("cluster.crt"))
	want(t, "a file for a directory", user(in("cluster.crt")), certificate+"Not a directory "+in("cluster.crt")+"/alice.crt")

	write(t, in("alice.key"), "mine")
	want(t, "the key is there", user(dir), key+"File exists "+in("alice.key"))
	if diff := cmp.Diff([]string{"alice.key", "cluster.crt", "cluster.key"}, files(t, dir)); diff != "" {
		t.Errorf("half a pair (-want +got):\n%s", diff)
	}
	write(t, in("alice.crt"), "mine")
	want(t, "both are there", user(dir), certificate+"File exists "+in("alice.crt"))
	remove(t, in("alice.key"))
	want(t, "the certificate is there", user(dir), certificate+"File exists "+in("alice.crt"))
	remove(t, in("alice.crt"))
	if err := os.Symlink(in("nowhere"), in("alice.crt")); err != nil {
		t.Fatal(err)
	}
	want(t, "a link that leads nowhere", user(dir), certificate+"File exists "+in("alice.crt"))
	remove(t, in("alice.crt"))
	if err := user(dir); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(in("alice.crt")); err != nil || !strings.HasPrefix(string(text), "-----BEGIN CERTIFICATE") {
		t.Errorf("%s, %v", text, err)
	}
}

// Somebody else is faster, once the way was clear: theirs stays, and ours goes.
func TestWritingIsOvertaken(t *testing.T) {
	dir := t.TempDir()
	for _, ending := range []string{".crt", ".key"} {
		p, err := newPair(dir, "alice")
		if err != nil {
			t.Fatal(err)
		}
		write(t, p.path(ending), "theirs")
		err = p.putTexts([]byte("certificate"), []byte("key"))
		p.discard()
		if !errors.Is(err, syscall.EEXIST) || !strings.Contains(err.Error(), p.path(ending)) {
			t.Errorf("%s: %v", ending, err)
		}
		if diff := cmp.Diff([]string{"alice" + ending}, files(t, dir)); diff != "" {
			t.Errorf("%s: files (-want +got):\n%s", ending, diff)
		}
		if text, err := os.ReadFile(p.path(ending)); string(text) != "theirs" {
			t.Errorf("%s: %q, %v", ending, text, err)
		}
		remove(t, p.path(ending))
	}
}

// [33] to [37], and what Flocker's own never looks at.
func TestOpenFails(t *testing.T) {
	_, whole := initialized(t, quick())
	_, other := initialized(t, quick())
	copied := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			copyFile(t, filepath.Join(whole, name), filepath.Join(dir, name), 0o600)
		}
		return dir
	}
	const unable = "Unable to load certificate authority file. "
	const please = unable + "Please run `flocker-ca initialize` to generate a new certificate authority. No such file or directory "
	fails := func(what, dir, text string) {
		t.Helper()
		_, err := quick().Open(dir)
		want(t, what, err, text)
	}
	none := filepath.Join(whole, "none")
	fails("[33] no directory", none, please+none+"/cluster.crt")
	dir := copied(KeyFile)
	fails("[34] no certificate", dir, please+dir+"/cluster.crt")
	dir = copied(CertificateFile)
	fails("[35] no key", dir, please+dir+"/cluster.key")
	copyFile(t, filepath.Join(other, KeyFile), filepath.Join(dir, KeyFile), 0o600)
	fails("another CA's key", dir, unable+"Invalid: it is not the key of cluster.crt "+dir+"/cluster.key")
	dir = copied(KeyFile)
	write(t, filepath.Join(dir, CertificateFile), "junk")
	fails("junk", dir, unable+"Invalid: no PEM block with a certificate "+dir+"/cluster.crt")
	dir = copied(CertificateFile)
	write(t, filepath.Join(dir, KeyFile), "junk")
	fails("a key of junk", dir, unable+"Invalid: no PEM block with a private key "+dir+"/cluster.key")

	cluster, err := quick().Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := cluster.CreateUser(t.Context(), whole, "alice")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	copyFile(t, filepath.Join(whole, leaf.Name+".crt"), filepath.Join(dir, CertificateFile), 0o600)
	copyFile(t, filepath.Join(whole, leaf.Name+".key"), filepath.Join(dir, KeyFile), 0o600)
	fails("a user for a CA", dir, unable+`Invalid: the certificate of "CN=user-alice,`)

	late := quick()
	late.Now = func() time.Time { return begin().Add(Lifetime + time.Second) }
	_, err = late.Open(whole)
	want(t, "expired", err, unable+`Invalid: certificate of "CN=mycluster,`)
	if err == nil || !strings.Contains(err.Error(), "expired at 2046") {
		t.Errorf("expired: %v", err)
	}
}

// [5] to [9], [36], [37] and unwritable directories, for somebody who is not root.
func TestPermissions(t *testing.T) {
	dir := open(t)
	c, err := quick().Initialize(t.Context(), dir, "mycluster", "")
	if err == nil {
		_, err = c.CreateUser(t.Context(), dir, "alice")
	}
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"cluster.crt", "cluster.key", "alice.crt", "alice.key"}
	for _, name := range names {
		give(t, filepath.Join(dir, name))
	}
	const load = "Unable to load certificate authority file. Permission denied "
	for _, tt := range []struct{ scenario, closed, want string }{
		{"open", "", ""},
		{"open", "cluster.crt", load + dir + "/cluster.crt"},
		{"open", "cluster.key", load + dir + "/cluster.key"},
		{"load", "", ""},
		{"load", "alice.crt", "Certificate file could not be opened. Permission denied " + dir + "/alice.crt"},
		{"load", "alice.key", "Private key file could not be opened. Permission denied " + dir + "/alice.key"},
	} {
		for _, name := range names {
			mode := os.FileMode(0o600)
			if name == tt.closed {
				mode = 0
			}
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		if got := play(t, tt.scenario, dir); got != tt.want {
			t.Errorf("%s, %q closed: %q, want %q", tt.scenario, tt.closed, got, tt.want)
		}
	}
	locked := open(t)
	if err := os.Chmod(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	if got, want := play(t, "create", locked), "Unable to write certificate file. Permission denied "+locked+"/alice.crt"; got != want {
		t.Errorf("a directory that is closed: %q, want %q", got, want)
	}
	if got := files(t, locked); len(got) > 0 {
		t.Errorf("a directory that is closed has %q", got)
	}
}

// [14], [15], [30], [31]: whatever the umask.
func TestUmask(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o777} {
		func() {
			defer syscall.Umask(syscall.Umask(mask))
			dir, err := os.MkdirTemp("", "umask")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := quick().Initialize(t.Context(), dir, "x", ""); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{CertificateFile, KeyFile} {
				if got := mode(t, dir, name); got != 0o600 {
					t.Errorf("umask %03o: %s has mode %o", mask, name, got)
				}
			}
		}()
	}
}

// The same for somebody whom modes stop.
func TestUmaskOfAUser(t *testing.T) {
	dir := open(t)
	if said := play(t, "umask", dir); said != "" {
		t.Error(said)
	}
	for _, name := range []string{CertificateFile, KeyFile} {
		if got := mode(t, dir, name); got != 0o600 {
			t.Errorf("%s has mode %o", name, got)
		}
	}
}

// A cluster that Flocker made goes on here.
func TestOriginalGoesOn(t *testing.T) {
	dir := t.TempDir()
	a := flockertest.New(t, "old", unitOfTests, begin().Add(-5*365*24*time.Hour))
	a.Write(t, dir, "cluster")
	c, err := quick().Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateUser(t.Context(), dir, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if made.Certificate.Version != 3 || string(made.Certificate.RawIssuer) != string(c.Authority().RawSubject) {
		t.Errorf("version %d, issuer %s", made.Certificate.Version, made.Certificate.Issuer)
	}
	if id, err := flocker.User.Verify(made.Certificate, c.Authority(), begin()); err != nil || id.Cluster != unitOfTests {
		t.Errorf("%+v, %v", id, err)
	}
	if !made.Certificate.NotAfter.Equal(begin().Add(Lifetime)) {
		t.Errorf("it lives until %v: twenty years from its own start are meant", made.Certificate.NotAfter)
	}
}

// What is interrupted leaves nothing; keys are made on every processor, and told.
func TestKeys(t *testing.T) {
	c, dir := initialized(t, quick())
	before := files(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	var told []int
	c.Progress = func(made, of int) {
		told = append(told, made)
		if of != 3 {
			t.Errorf("%d of %d keys, want 3", made, of)
		}
		if made == 2 {
			cancel()
		}
	}
	var mu sync.Mutex
	var once sync.Once
	atWork, most := 0, 0
	both := make(chan struct{})
	generate := c.Generate
	c.Generate = func() (key cryptoSigner, err error) {
		mu.Lock()
		atWork++
		if most = max(most, atWork); most > 1 {
			once.Do(func() { close(both) })
		}
		mu.Unlock()
		defer func() { mu.Lock(); atWork--; mu.Unlock() }()
		select { // with one processor nobody else comes
		case <-both:
		case <-time.After(200 * time.Millisecond):
		}
		return generate()
	}
	if _, err := c.CreateNodes(ctx, dir, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if !slices.Equal(told, []int{0, 1, 2}) && !slices.Equal(told, []int{0, 1, 2, 3}) {
		t.Errorf("told %v", told)
	}
	mu.Lock() // a search that is under way goes on
	if most < 2 && processors() > 1 {
		t.Errorf("%d keys at once on %d processors", most, processors())
	}
	mu.Unlock()
	c.Generate = func() (cryptoSigner, error) { return nil, errors.New("no randomness") }
	c.Progress = nil
	if _, err := c.CreateNodes(t.Context(), dir, 1); err == nil || !strings.Contains(err.Error(), "no randomness") {
		t.Errorf("a key that fails: %v", err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// All the nodes of one call, or none.
func TestNodesAreAllOrNone(t *testing.T) {
	c, dir := initialized(t, quick())
	before := files(t, dir)
	generate := c.Generate
	full := 0
	c.Generate = func() (cryptoSigner, error) { return generate() }
	// The last of them finds its place taken: whoever looks meanwhile knows its name.
	c.Progress = func(made, of int) {
		if made < of || full > 0 {
			return
		}
		for _, name := range files(t, dir) {
			if strings.HasPrefix(name, stagePrefix) {
				if err := os.Chmod(filepath.Join(dir, name), 0o500); err != nil {
					t.Error(err)
				}
				full++
			}
		}
	}
	if os.Geteuid() == 0 { // whom modes do not stop
		c.Progress = func(made, of int) {
			if made < of || full > 0 {
				return
			}
			var stages []string
			for _, name := range files(t, dir) {
				if strings.HasPrefix(name, stagePrefix) {
					stages = append(stages, name)
				}
			}
			full++
			if err := os.RemoveAll(filepath.Join(dir, stages[len(stages)-1])); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := c.CreateNodes(t.Context(), dir, 3); err == nil || full == 0 {
		t.Errorf("%d, %v", full, err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func mode(t *testing.T, dir, name string) os.FileMode {
	t.Helper()
	info, err := os.Lstat(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

// blocks reports whether a file is one PEM block of a type, and nothing else.
func blocks(t *testing.T, dir, name, kind string) bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	return block != nil && block.Type == kind && len(block.Headers) == 0 && len(rest) == 0
}

// times counts the UTCTimes of a certificate (RFC 5280, 4.1.2.5).
func times(t *testing.T, cert *x509.Certificate) int {
	t.Helper()
	n := 0
	for _, at := range []time.Time{cert.NotBefore, cert.NotAfter} {
		if strings.Contains(string(cert.RawTBSCertificate), "\x17\x0d"+at.UTC().Format("060102150405")+"Z") {
			n++
		}
	}
	return n
}
