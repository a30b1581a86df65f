package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"filippo.io/age"
	"github.com/urfave/cli/v2"

	"omca"
	"omca/internal/client"
	"omca/internal/hint"
	"omca/internal/home"
)

const maxIdentity = 64 << 10 // bytes of a file with identities of age

func backupVerb() verb {
	return verb{
		name: "backup", usage: "write all that the store holds to a file, encrypted", args: "FILE", min: 1, max: 1,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "recipient", Usage: "public `KEY` of age to encrypt it to, in place of a passphrase"},
			phraseFlag(),
		},
		example: "omca backup monday.omca --backup-passphrase-file /root/phrase", run: backup,
	}
}

func restoreVerb() verb {
	return verb{
		name: "restore", usage: "make a home of a backup; the home must be empty, and no daemon run on it", args: "FILE", min: 1, max: 1,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "identity", Usage: "`FILE` with the private key of age that the backup was encrypted to"},
			phraseFlag(),
			&cli.StringFlag{Name: "replaces", Usage: "`DIR`, the home that was there: what was revoked in it stays revoked"},
		},
		example: "omca --home restored restore monday.omca --backup-passphrase-file /root/phrase", run: restore,
	}
}

func phraseFlag() cli.Flag {
	return &cli.StringFlag{Name: "backup-passphrase-file", Usage: "`FILE` with the passphrase of the backup, or - ; asked for unless given"}
}

func backup(ctx context.Context, c *call) error {
	to, err := c.backupRecipient(ctx)
	if err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	return writeWhole(c.flags.Args().First(), func(w io.Writer) error { return to.write(ctx, api, w) })
}

// A backupKey is whom a backup is for: the holder of a key, or of a passphrase.
type backupKey struct {
	recipient string
	phrase    *age.ScryptRecipient // nil when there is a recipient
}

func (c *call) backupRecipient(ctx context.Context) (backupKey, error) {
	if key := c.flags.String("recipient"); key != "" {
		if c.flags.IsSet("backup-passphrase-file") {
			return backupKey{}, usagef("--recipient and --backup-passphrase-file: one of them opens the backup")
		}
		return backupKey{recipient: key}, nil
	}
	text, err := c.phrase(ctx, true)
	if err != nil {
		return backupKey{}, err
	}
	recipient, err := age.NewScryptRecipient(text)
	return backupKey{phrase: recipient}, err
}

// phrase is the passphrase of a backup. A new one is asked for twice.
func (c *call) phrase(ctx context.Context, made bool) (string, error) {
	const least = 8
	var text string
	var err error
	switch file := c.flags.String("backup-passphrase-file"); {
	case file != "":
		var line []byte
		line, err = c.readSource(ctx, file, 1024)
		line, _, _ = bytes.Cut(line, []byte("\n"))
		text = string(bytes.TrimRight(line, "\r"))
	case !isTerminal(c.stdin):
		err = hint.With(errors.New("no terminal to ask for the passphrase of the backup on"), "give it with --backup-passphrase-file FILE, or - for standard input")
	case made:
		text, err = c.newPassword(ctx, "passphrase of the backup")
	default:
		text, err = c.askPassword(ctx, "passphrase of the backup")
	}
	if err == nil && made && len(text) < least {
		err = fmt.Errorf("the passphrase of the backup has %d characters, at least %d: the backup holds every key of the cluster", len(text), least)
	}
	return text, err
}

// write writes the backup. The server never learns a passphrase: it encrypts to a key that is made for this once, and what comes is
// encrypted again.
func (k backupKey) write(ctx context.Context, api *client.Client, w io.Writer) error {
	if k.phrase == nil {
		return api.Backup(ctx, k.recipient, w)
	}
	once, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	r, received := io.Pipe()
	go func() { received.CloseWithError(api.Backup(ctx, once.Recipient().String(), received)) }()
	plain, err := age.Decrypt(r, once)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	sealed, err := age.Encrypt(w, k.phrase)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	if _, err := io.Copy(sealed, plain); err != nil {
		return errors.Join(fmt.Errorf("the backup is not whole: %w", err), r.Close())
	}
	return sealed.Close()
}

// writeWhole writes a file that is not there yet and that nobody else can read, and gives it its name when all of it is there.
func writeWhole(name string, write func(io.Writer) error) error {
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return hint.With(fmt.Errorf("%s is there already", name), "name another file, or remove this one")
	}
	return home.Create(name, ".omca-backup-", func(f *os.File) error { return write(f) })
}

func restore(ctx context.Context, c *call) error {
	if c.global.String("server") != "" {
		return usagef("a restore makes a home on this machine: it has no --server")
	}
	home, err := c.home()
	if err != nil {
		return err
	}
	name := c.flags.Args().First()
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() // it was read only
	key, err := c.backupIdentity(ctx)
	if err != nil {
		return err
	}
	plain, err := age.Decrypt(f, key)
	var closed *age.NoIdentityMatchError
	if errors.As(err, &closed) {
		return hint.With(fmt.Errorf("%s: another passphrase or key than this opens it", name), "a backup made with --recipient is opened with --identity FILE")
	}
	if err != nil {
		return hint.With(fmt.Errorf("%s: the backup is cut short or damaged, or it is no backup: %w", name, err),
			"copy the file once more from where it was made, or take an earlier backup")
	}
	done, err := omca.Restore(ctx, omca.RestoreConfig{
		Home: home, PassphraseFile: c.passphraseFile(), From: plain, Replaces: c.flags.String("replaces"), Now: c.now,
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, locked(err))
	}
	c.reportRestored(home, done)
	return nil
}

func (c *call) backupIdentity(ctx context.Context) (age.Identity, error) {
	file := c.flags.String("identity")
	if file == "" {
		text, err := c.phrase(ctx, false)
		if err != nil {
			return nil, err
		}
		return age.NewScryptIdentity(text)
	}
	text, err := c.readSource(ctx, file, maxIdentity)
	if err != nil {
		return nil, err
	}
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: no private key of age: a line \"AGE-SECRET-KEY-1…\" is expected", file)
	}
	return all[0], nil
}

// reportRestored says what the backup was of, and what it did not know.
func (c *call) reportRestored(home string, done omca.Restored) {
	c.notice(fmt.Sprintf("%s: cluster %s as of %s", home, done.Cluster, instant(done.At)))
	for _, r := range done.Revoked {
		what := "certificate " + r.Serial
		if r.Token != "" {
			what = "token " + r.Token
		}
		c.notice(fmt.Sprintf("%s was revoked after the backup, and stays so", what))
	}
	for _, r := range done.Issued {
		c.notice(fmt.Sprintf("certificate %s of %s was issued after the backup: it is not accepted any more, issue it again", r.Serial, r.Owner))
	}
	c.reportAuthorities(done)
	if c.flags.String("replaces") == "" {
		c.notice("what was revoked after the backup is not known; with the old home, or a copy, --replaces DIR keeps it revoked")
	}
}

// reportAuthorities says what becomes of the lists of the CAs whose keys are newer than the backup.
func (c *call) reportAuthorities(done omca.Restored) {
	old := c.flags.String("replaces")
	for _, a := range done.Authorities {
		name := fmt.Sprintf("CA %s of %s (%s)", a.ID.Short(), a.Path, a.Subject)
		if a.Lost == nil {
			c.notice(name + " got its key after the backup: its revocation list and its OCSP answers go on, and it signs nothing else any more")
			continue
		}
		c.notice(fmt.Sprintf("%s got its key after the backup, and the key does not open: %v; it has no revocation list and no OCSP answers any more", name, a.Lost))
		c.notice(fmt.Sprintf("to keep them, put the seal.key of %s back into it, or name the passphrase that it was sealed by with --passphrase-file, and restore once more "+
			"into an empty home; where that is lost, issue again what CA %s signed, and take that CA out wherever it is trusted", old, a.ID.Short()))
	}
	if done.Unrecorded && len(done.Issued) > 0 {
		c.notice(fmt.Sprintf("an earlier build wrote %s and put no CA on record: a CA that got its key after the backup has no revocation list any more; to keep it, bring %[1]s over "+
			"with \"%s --home %[1]s ls\", and restore once more into an empty home", old, c.name))
	}
}
