package omca

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"omca/ca"
	"omca/internal/api"
	"omca/internal/background"
	"omca/internal/clustercockpit"
	"omca/internal/console"
	"omca/internal/enforce"
	"omca/internal/feed"
	"omca/internal/hint"
	"omca/internal/home"
	"omca/internal/object"
	"omca/internal/openid"
	"omca/internal/registry"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/internal/trail"
	"omca/listener"
	"omca/pki/lint"
	"omca/usr"
	"omca/usr/session"
	"omca/usr/token"
)

// ErrLocked means that another process has the home open: a daemon, which
// answers on the socket, or a command that is about to end.
var ErrLocked = store.ErrLocked

// Config says where an authority lives. Home is required.
type Config struct {
	Home           string      // directory of everything, 0700; made when missing
	MustExist      bool        // Open makes nothing that a first start makes, and returns ErrNoHome without a home
	Store          StoreConfig // of a cluster of nodes; its zero value is what Home remembers, and else a store in Home
	Mark           string      // file outside of Home that remembers how far the store was; "" is Home with ".mark" behind it
	PassphraseFile string      // file with the passphrase of the master key; "" uses the file seal.key in Home
	Listen         string      // address of the TLS listener; "" takes the keywords listener.addr and listener.port
	ClusterName    string      // for the first start; "" draws one, or, where Store is shared, begins none
	NodeName       string      // "" is the name of the host
	Version        string      // of the program, for its status

	// Cluster has the home become the first member of a cluster, with the store that
	// it has or a fresh one. A home that is a member is one, whatever this says.
	Cluster bool
	// Join has a fresh home become a member of a cluster. Nil: it does not.
	Join *Join
	// Peer is HOST:PORT for the other members, on the first start of a member: this
	// node listens there, and HOST is what they reach it by. "" is ":1217", and no
	// HOST the name of the node.
	Peer string

	// Sockets are what another Run left: Run takes those that are for an address
	// that is configured now, and listens anew on the others.
	Sockets []Socket
	// Restart has another process take the place of this one, or says why none can.
	// It returns before that is done. Nil: nobody can.
	Restart func() error
	// RestartError is why the last restart failed, for the status; "" unless this
	// Server serves because of that. It then takes Sockets whatever their address
	// is, and does without plain HTTP when that cannot be had.
	RestartError string

	Now func() time.Time // nil is time.Now
	Log *slog.Logger     // audit trail and events; nil discards them

	// Memory is told that so many bytes are taken for a moment, and, with a
	// negative number, that they are given back: each hash of a password takes
	// 19 MiB, which is more than all the rest that lives. Nil: nobody is.
	Memory func(bytes int64)

	panics *background.Panics // made by Open
}

// Server is an open authority. It is safe for concurrent use.
type Server struct {
	config    Config
	started   time.Time
	db        opened
	master    seal.Master
	mark      marker // of the store, outside of the home
	objects   *registry.Store
	authority *ca.Authority
	tries     []way // to prove a name
	handler   http.Handler
	public    http.Handler // what may be read in the clear

	enforcer  *enforce.Enforcer
	publisher *ca.Publisher
	ocsp      *ca.OCSP
	feeds     *feed.Feeds
	sessions  *session.Service // of browsers
	passwords *usr.Passwords
	guesses   *usr.Guesses // at passwords, on this node
	tokens    *token.Service
	cockpit   *clustercockpit.Profiles
	openid    *openid.Verifier
	flows     flows // to log in at the OpenID issuer
	verified  verifiedTokens
	touched   chan object.Path // objects that the feeds may have to do with

	listener atomic.Pointer[listener.Listener] // nil until Run
	swapping sync.Mutex                        // what is read last is served last
	stapler  *stapler                          // OCSP answers about what is served
	served   sync.Map                          // path → *atomic.Pointer[tls.Certificate], for TLSConfig
	heard    atomic.Pointer[[]string]          // where Run listens

	listening     sync.Mutex   // guards what is written of the sockets
	sockets       sockets      // of Run
	taken         map[int]bool // of Config.Sockets, by index
	publicSocket  net.Listener // of plain HTTP; nil when there is none
	publicAddress string       // as the keyword has it
	stop          atomic.Pointer[context.CancelFunc]
	failure       chan error    // why the daemon has to end
	draining      atomic.Bool   // it says that it is not ready
	wake          chan struct{} // a certificate changed: look again at what is due
	bring         chan struct{} // look whether the store can be brought over, while it has an older format
	isChosen      atomic.Bool   // see chosen
	clocks        *clocks       // of the nodes
	moved         chan struct{} // this node listens elsewhere
	look          chan struct{} // a node came, went or was chosen, or showed its clock

	background context.Context // ends with Close
	end        context.CancelFunc
	work       sync.WaitGroup // of run
	panics     *background.Panics
	trail      *trail.Trail // the end of the log
	endings    atomic.Int64 // certificates that expire soon and that nothing renews
	renewing   sync.Once
}

// Open opens the authority in c.Home. Unless MustExist is set, what is missing is
// made: the home, the store, the seal key, the cluster's name and id, the internal
// CA and the certificate of the listener, each in one transaction.
func Open(ctx context.Context, c Config) (*Server, error) {
	if c.MustExist {
		if err := FindHome(c.Home); err != nil {
			return nil, err
		}
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	if err := home.Make(c.Home); err != nil {
		return nil, err
	}
	c.panics = background.New(c.Now, c.Log)
	db, err := openStore(ctx, c)
	if err != nil {
		return nil, err
	}
	if c.MustExist {
		if err := begun(ctx, c, db); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return begin(ctx, c, db)
}

// begin opens the authority upon a store, which it closes when that fails.
func begin(ctx context.Context, c Config, db opened) (*Server, error) {
	s := &Server{
		config: c, started: c.Now(), db: db, touched: make(chan object.Path, 64), failure: make(chan error, 1),
		wake: make(chan struct{}, 1), bring: make(chan struct{}, 1), moved: make(chan struct{}, 1), look: make(chan struct{}, 1),
	}
	s.keepTrail()
	s.panics, s.clocks = c.panics, newClocks(c.Now)
	s.background, s.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.compose(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// complete fills in what has an honest default.
func (c *Config) complete() error {
	if c.Home == "" {
		return errors.New("omca: Config needs Home")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.sameNode(); err != nil {
		return err
	}
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of the node: %w", err)
		}
		c.NodeName = host
	}
	return nil
}

// sameNode takes the name that the node has as a member, and refuses another.
func (c *Config) sameNode() error {
	m, err := readMembership(c.Home)
	if m == nil || err != nil || m.State == stateJoining {
		return err // it takes the name that it is given this time
	}
	if c.NodeName != "" && c.NodeName != m.Node {
		return hint.With(fmt.Errorf("%s is node %q of its cluster, not %q", c.Home, m.Node, c.NodeName), "leave the name out: it is for the first start")
	}
	c.NodeName = m.Node
	return nil
}

// compose builds the parts upon the store and makes what is missing.
func (s *Server) compose(ctx context.Context) error {
	c := s.config
	var err error
	if s.master, err = s.openMaster(ctx); err != nil {
		return err
	}
	if s.objects, err = registry.OpenStore(ctx, registry.StoreConfig{Store: s.db, Shared: s.db.follows != nil, Master: s.master, Now: c.Now, Log: c.Log, Panics: s.panics}); err != nil {
		return err
	}
	if err := s.checkMark(ctx); err != nil {
		return err
	}
	own := ca.Config{Store: s.objects, Linter: lint.New(), Now: c.Now, Moment: time.Now, Log: c.Log}
	if s.db.follows != nil {
		own.Node, own.NodeListener = c.NodeName, object.NodeListenerPath(c.NodeName).String()
	}
	if s.authority, err = ca.New(own); err != nil {
		return err
	}
	s.enforcer = s.newEnforcer()
	s.publisher = s.authority.NewPublisher()
	if s.db.follows != nil {
		s.publisher.Share(s.chosen)
		s.objects.OnList(s.publisher.Reload)
		s.objects.OnAuthority(s.authoritiesChanged)
	}
	s.ocsp = s.authority.NewOCSP(s.stageResponder)
	s.stapler = s.newStapler()
	if err := s.newFeeds(); err != nil {
		return err
	}
	if err := errors.Join(s.newSessions(), s.newTokens(), s.newOpenID(), s.newPasswords()); err != nil {
		return err
	}
	s.objects.OnChange(s.changed)
	s.objects.OnRevoke(s.revoked)
	s.objects.OnBlock(s.keyBlocked)
	s.followStore()
	if err := s.readyStore(ctx); err != nil {
		return err
	}
	if err := s.bootstrap(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.enforcer.Load(ctx), s.readPolicy(ctx)); err != nil {
		return err
	}
	if err := s.beMember(ctx); err != nil {
		return err
	}
	s.configureOpenID(ctx)
	s.tries = s.ways()
	members, err := s.newMembers(ctx)
	if err != nil {
		return err
	}
	door := api.Config{
		Authority: s.authority, Objects: s.objects, Publisher: s.publisher, Identify: s.identify,
		Log: c.Log, Now: c.Now, Version: c.Version,
		Status: s.status, Stop: s.requestStop, Restart: s.config.Restart, Ready: s.ready, Full: full, Down: down, Explain: s.explain,
		OCSP: s.answer, External: s.externalLists, Refresh: s.feeds.Refresh,
		Collectors: append(s.measures(), s.openidMeasures()...), AuthInfo: s.authInfo,
		Sessions: s.sessions, Login: s.login, AskOpenID: s.askOpenID, LoginOpenID: s.loginOpenID,
		Passwords: s.passwords, CheckPassword: s.checkPassword, Unlock: s.unlock, Address: s.origin,
		Tokens: s.tokens, IdentifyRefresh: s.identifyRefresh, InspectToken: s.inspectToken,
		Foreign: api.ForeignTokens{Profile: clustercockpit.ProfileAt, PublicKey: s.cockpit.PublicKey, Import: s.cockpit.Import}, Trail: s.lastLines, Members: members,
		AcceptSetBack: s.acceptSetBack, Unmarked: s.mark.unmarked,
	}
	if s.db.follows != nil {
		door.Latest = s.db.follows.Latest
	}
	calls, public, err := api.Handlers(door)
	if err != nil {
		return err
	}
	s.public = public
	s.handler, err = console.New(console.Config{API: calls, Now: c.Now, Version: c.Version, Log: c.Log})
	return err
}

// openMaster returns the master key that the configuration names. A seal key is
// made only for an empty store: no other key would open what is in a full one.
func (s *Server) openMaster(ctx context.Context) (seal.Master, error) {
	if s.config.PassphraseFile != "" {
		return passphraseMaster(s.config.PassphraseFile)
	}
	file := filepath.Join(s.config.Home, sealKey)
	master, err := seal.OpenFileMaster(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return master, err
	}
	page, scanErr := s.db.Scan(ctx, store.Range{Limit: 1})
	if scanErr != nil {
		return nil, scanErr
	}
	if len(page.Entries) > 0 {
		return nil, hint.With(err, "%s", s.db.keyHint)
	}
	return seal.CreateFileMaster(file)
}

// passphraseMaster is the master key of the passphrase in a file.
func passphraseMaster(file string) (seal.Master, error) {
	passphrase, err := readPassphrase(file)
	if err != nil {
		return nil, err
	}
	return seal.NewPassphraseMaster(passphrase)
}

// readPassphrase reads the first line of a file that only its owner can read.
func readPassphrase(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	if err := home.CheckMode(info, home.OthersUse, "read it"); err != nil {
		return nil, hint.With(fmt.Errorf("passphrase file %s: %w", name, err), "chmod 600 %s", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("passphrase: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return bytes.TrimRight(line, "\r"), nil
}

// full reports whether an error means that the disk has no room left.
func full(err error) bool { return errors.Is(err, store.ErrFull) }

// down reports whether an error means that the store takes no more work, or that
// whoever issued the token cannot be asked.
func down(err error) bool {
	return errors.Is(err, store.ErrAway) || errors.Is(err, store.ErrUncertain) || errors.Is(err, errStale) || errors.Is(err, registry.ErrSetBack) ||
		errors.Is(err, store.ErrBroken) || errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrDamaged) ||
		errors.Is(err, openid.ErrUnavailable)
}

// Close ends everything that Open began. Run must have returned.
func (s *Server) Close() error {
	s.end()
	if s.openid != nil {
		s.openid.Close()
	}
	s.work.Wait()
	var err error
	if s.objects != nil { // what this process has written is remembered, however short it ran
		if err = s.keepMark(context.Background()); err != nil {
			s.config.Log.Debug("mark not kept", "error", err)
		}
	}
	return s.db.Close()
}

// changed follows the store: whatever was read of the object is forgotten, and
// what is served of it is replaced before the commit returns.
func (s *Server) changed(p object.Path) {
	ctx := s.background
	s.memberChanged(p)
	switch {
	case p.IsZero():
		s.authority.Changed("")
	case p.Kind == object.KindUsr:
		s.userChanged(ctx, p)
		return
	case p.Kind == object.KindCfg:
		return
	case p == object.ClusterPath():
		s.authority.Changed("")
		s.configureOpenID(ctx)
	case p == object.JWTPath():
		s.tokenKeysChanged(ctx)
		return
	case clustercockpit.ProfileAt(p) != "":
		s.verified.clear()
		return
	default:
		s.authority.Changed(p.String())
	}
	if p.IsZero() {
		s.tokenKeysChanged(ctx)
		s.configureOpenID(ctx)
	}
	if s.isOwn(ctx, p) {
		s.ownChanged(ctx, p)
	}
	select {
	case s.touched <- p:
	default: // the feeds have sixty-four changes to look at: they read what is there then
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// isOwn reports whether the daemon itself is made of the object at p: the cluster, what
// lies in the namespace system, what is served, and CAs. The others cost no more than a
// look at them, however many there are.
func (s *Server) isOwn(ctx context.Context, p object.Path) bool {
	if p.IsZero() || p == object.ClusterPath() || p.Namespace == object.CertPath().Namespace {
		return true
	}
	if _, served := s.served.Load(p.String()); served {
		return true
	}
	is, err := s.authority.IsCA(ctx, p.String())
	return is || err != nil // what cannot be read may be one
}

// ownChanged replaces what is enforced and served of the object at p, or of any.
func (s *Server) ownChanged(ctx context.Context, p object.Path) {
	if err := errors.Join(s.enforcer.KnowAuthorities(ctx), s.readPolicy(ctx)); err != nil {
		level := slog.LevelError
		if !s.enforcer.Loaded() { // the first start makes the first CA, and the start fails on what it cannot read
			level = slog.LevelDebug
		}
		s.config.Log.Log(ctx, level, "CAs not read", "changed", p.String(), "error", err)
	}
	signal(s.bring)
	s.reload(ctx, p)
	s.publisher.Reload()
	s.stapler.soon()
}

// userChanged closes the connections of a user who may not call any more.
func (s *Server) userChanged(ctx context.Context, p object.Path) {
	l := s.listener.Load()
	if l == nil {
		return
	}
	if u, err := s.objects.User(ctx, p.Name); err != nil || u.Disabled {
		if n := l.CloseUser(p.Name); n > 0 {
			s.config.Log.InfoContext(ctx, "connections closed", "user", p.Name, "count", n)
		}
	}
}

// swap has the listener present and trust what the store holds now.
func (s *Server) swap(ctx context.Context) error {
	l := s.listener.Load()
	if l == nil {
		return nil
	}
	s.swapping.Lock()
	defer s.swapping.Unlock()
	g, err := s.generation(ctx)
	if err != nil {
		return err
	}
	return l.Swap(g)
}

// reload replaces what is served, after a change of the object at p (or of any).
func (s *Server) reload(ctx context.Context, p object.Path) {
	if err := s.swap(ctx); err != nil {
		s.config.Log.ErrorContext(ctx, "listener keeps its certificate", "changed", p.String(), "error", err)
	}
	s.served.Range(func(path, current any) bool {
		if p.IsZero() || path == p.String() {
			if err := s.present(ctx, path.(string), current.(*atomic.Pointer[tls.Certificate])); err != nil {
				s.config.Log.ErrorContext(ctx, "server keeps its certificate", "path", path, "error", err)
			}
		}
		return true
	})
}
