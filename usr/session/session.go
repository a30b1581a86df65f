package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"omca/usr"
)

const (
	// Idle is how long a session lives without being used. OWASP's Session Management Cheat Sheet, "Idle Timeout", has 15 to 30
	// minutes for applications of low risk, and less where much is at stake: who leaves the desk is back or gone by then.
	Idle = 30 * time.Minute
	// TouchEvery is how exactly the last use is kept: a touch is a write, and a page makes many requests.
	TouchEvery = time.Minute
	// MostOfUser bounds the sessions of one user. One more ends the one that was used least recently.
	MostOfUser = 32

	secretSize = 32              // bytes
	skew       = 5 * time.Minute // by which the clock of the node that began it may be ahead
)

// ErrNone is what a secret gives that stands for no session, or for one that is over. It is a [usr.ErrUnauthenticated].
var ErrNone = fmt.Errorf("%w: no such session", usr.ErrUnauthenticated)

// Login is how a session began: what must still be so for it to go on.
type Login struct {
	User    string     `json:"user"`
	Method  usr.Method `json:"method"`  // that proved the name
	Address string     `json:"address"` // where it came from

	UserCreated     time.Time `json:"user_created"`           // which user of that name
	PasswordChanged time.Time `json:"password_changed"`       // the password that the user had
	Era             int       `json:"era,omitempty"`          // how often the user had been disabled
	External        bool      `json:"external,omitempty"`     // the certificate is of another PKI
	Certificates    [][]byte  `json:"certificates,omitempty"` // the verified chain that proved the name, DER, leaf first

	// Of whom an OpenID issuer let in: there is no object of that user.
	Grants string    `json:"grants,omitempty"` // that the issuer gave
	Issuer string    `json:"issuer,omitempty"` // and the client that it was for
	Until  time.Time `json:"until,omitzero"`   // by when the session is over anyway; zero: nothing but the limits of all sessions
}

// Session is one login that goes on.
type Session struct {
	ID string `json:"-"` // SHA-256 of the secret, hexadecimal
	Login
	Began time.Time `json:"began"`
	Used  time.Time `json:"used"` // last, to [TouchEvery]
}

// Store keeps sessions, and every node sees what any of them keeps. Its methods may be called at once.
type Store interface {
	// AddSession keeps a session. It is durable when it returns.
	AddSession(context.Context, Session) error
	// Session returns the session with that ID, or an error that wraps [ErrNone].
	Session(ctx context.Context, id string) (Session, error)
	// TouchSession says when the session was used. It does nothing, and is no error, when the session is gone: a touch never
	// brings one back.
	TouchSession(ctx context.Context, id string, used time.Time) error
	// EndSessions forgets sessions. Those that are gone are no error.
	EndSessions(ctx context.Context, sessions ...Session) error
	// Sessions yields the sessions of a user, or of everybody for "", in no particular order.
	Sessions(ctx context.Context, user string) iter.Seq2[Session, error]
}

// Config is what a [Service] works with. Every field is required.
type Config struct {
	Store  Store
	Now    func() time.Time
	MaxAge func(context.Context) (time.Duration, error) // how long a session lasts at most, asked each time

	// Holds is asked, each time, whether the user and the proof of a login are still what they were: nil, or why not, wrapping
	// [usr.ErrUnauthenticated]. Any other error is a failure to find out.
	Holds func(context.Context, Login) error
}

// Service begins, finds and ends sessions. It is safe for concurrent use.
type Service struct{ Config }

// New checks a configuration.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Now == nil || c.MaxAge == nil || c.Holds == nil {
		return nil, errors.New("session: Config needs Store, Now, MaxAge and Holds")
	}
	return &Service{c}, nil
}

// Begin begins a session and returns its secret, 43 characters that fit a cookie: nobody can have it a second time. The
// secret is always new, so that whoever planted one before the login has nothing (session fixation).
func (s *Service) Begin(ctx context.Context, l Login) (secret string, begun Session, err error) {
	if l.User == "" || l.UserCreated.IsZero() && l.Issuer == "" {
		return "", Session{}, errors.New("session: Login needs User, and UserCreated or Issuer")
	}
	random := make([]byte, secretSize)
	rand.Read(random)
	secret = base64.RawURLEncoding.EncodeToString(random)
	now := s.Now().UTC()
	begun = Session{ID: idOf(secret), Login: l, Began: now, Used: now}
	if err := s.makeRoom(ctx, l.User); err != nil {
		return "", Session{}, err
	}
	if err := s.Store.AddSession(ctx, begun); err != nil {
		return "", Session{}, fmt.Errorf("keeping the session: %w", err)
	}
	return secret, begun, nil
}

// makeRoom ends what the user has too many of.
func (s *Service) makeRoom(ctx context.Context, user string) error {
	all, err := s.all(ctx, user)
	if err != nil || len(all) < MostOfUser {
		return err
	}
	slices.SortFunc(all, func(a, b Session) int { return b.Used.Compare(a.Used) })
	return s.Store.EndSessions(ctx, all[MostOfUser-1:]...)
}

// idOf is the name under which the session of a secret is kept. It is looked up, not compared: how long that takes tells of
// the SHA-256 at most, which nobody can aim.
func idOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Find returns the session of a secret that goes on. What is over gives [ErrNone] or what Holds said, and what is no secret at
// all gives ErrNone: each is a [usr.ErrUnauthenticated].
func (s *Service) Find(ctx context.Context, secret string) (Session, error) {
	// The length too: the decoder passes over line breaks.
	form := base64.RawURLEncoding.Strict()
	if raw, err := form.DecodeString(secret); len(secret) != form.EncodedLen(secretSize) || err != nil || len(raw) != secretSize {
		return Session{}, fmt.Errorf("%w: that is not the form of one", ErrNone)
	}
	return s.Get(ctx, idOf(secret))
}

// Get returns the session with that ID, as Find does.
func (s *Service) Get(ctx context.Context, id string) (Session, error) {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != sha256.Size || hex.EncodeToString(raw) != id {
		return Session{}, fmt.Errorf("%w: that is not the form of an id", ErrNone)
	}
	found, err := s.Store.Session(ctx, id)
	if err != nil {
		return Session{}, err
	}
	if err := s.living(ctx, found); err != nil {
		return Session{}, err
	}
	return found, nil
}

// living returns nil for a session that goes on, and else why not.
func (s *Service) living(ctx context.Context, of Session) error {
	end, err := s.Ends(ctx, of)
	if err != nil {
		return err
	}
	// Begun or used in the future: a clock was set back. Used by the clock that was ahead, it would be idle for as long as that one leapt.
	if now := s.Now(); !now.Before(end) || of.Began.After(now.Add(skew)) || of.Used.After(now.Add(skew)) {
		return fmt.Errorf("%w: that of %q was over at %s", ErrNone, of.User, end.Format(time.RFC3339))
	}
	if err := s.Holds(ctx, of.Login); err != nil {
		return fmt.Errorf("session of %q: %w", of.User, err)
	}
	return nil
}

// Ends is when a session is over, unless it is used before.
func (s *Service) Ends(ctx context.Context, of Session) (time.Time, error) {
	most, err := s.MaxAge(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("how long a session lasts: %w", err)
	}
	end := of.Began.Add(most)
	if idle := of.Used.Add(Idle); idle.Before(end) {
		end = idle
	}
	if !of.Until.IsZero() && of.Until.Before(end) {
		end = of.Until
	}
	return end, nil
}

// Touch notes that a session is used now, at most once in [TouchEvery].
func (s *Service) Touch(ctx context.Context, used Session) error {
	now := s.Now().UTC()
	if now.Sub(used.Used) < TouchEvery {
		return nil
	}
	if err := s.Store.TouchSession(ctx, used.ID, now); err != nil {
		return fmt.Errorf("noting the use of a session of %q: %w", used.User, err)
	}
	return nil
}

// End ends a session. One that is over already is no error.
func (s *Service) End(ctx context.Context, over Session) error { return s.Store.EndSessions(ctx, over) }

// EndAll ends the sessions of a user and says how many there were.
func (s *Service) EndAll(ctx context.Context, user string) (int, error) {
	if user == "" {
		return 0, errors.New("session: EndAll needs a user")
	}
	all, err := s.all(ctx, user)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return len(all), s.Store.EndSessions(ctx, all...)
}

// List returns the sessions of a user that go on, or of everybody for "", the one used last first.
func (s *Service) List(ctx context.Context, user string) ([]Session, error) {
	all, err := s.all(ctx, user)
	if err != nil {
		return nil, err
	}
	living := []Session{}
	for _, one := range all {
		switch err := s.living(ctx, one); {
		case err == nil:
			living = append(living, one)
		case !errors.Is(err, usr.ErrUnauthenticated):
			return nil, err
		}
	}
	slices.SortFunc(living, func(a, b Session) int { return b.Used.Compare(a.Used) })
	return living, nil
}

// Sweep forgets the sessions that are over and returns how many. Nothing depends on it but room: Find looks itself.
func (s *Service) Sweep(ctx context.Context) (int, error) {
	n := 0
	for one, err := range s.Store.Sessions(ctx, "") {
		if err == nil {
			err = s.living(ctx, one)
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, usr.ErrUnauthenticated):
			return n, err
		}
		if err := s.Store.EndSessions(ctx, one); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (s *Service) all(ctx context.Context, user string) ([]Session, error) {
	var all []Session
	for one, err := range s.Store.Sessions(ctx, user) {
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}
