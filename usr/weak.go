package usr

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MinPassword is the least number of characters of a password that a person chooses (NIST SP 800-63B, 3.1.1.2).
const MinPassword = 8

// CheckPassword reports [ErrInvalid], which never quotes the password, for one that is too easy to guess: shorter than least characters
// (at least [MinPassword]), one of the most common, one character again and again, a run such as "12345678", or one of names with nothing
// but digits and punctuation around it. There are no rules about kinds of characters, as NIST SP 800-63B asks.
func CheckPassword(password []byte, least int, names ...string) error {
	least = max(least, MinPassword)
	text := strings.ToLower(string(password))
	switch n := utf8.RuneCount(password); {
	case n < least:
		return fmt.Errorf("%w password: at least %d characters are wanted, it has %d", ErrInvalid, least, n)
	case isRun(text):
		return fmt.Errorf("%w password: it is one character repeated, or a run of neighbours", ErrInvalid)
	case slices.Contains(strings.Fields(commonPasswords), text):
		return fmt.Errorf("%w password: it is among those that are guessed first", ErrInvalid)
	}
	core := strings.TrimFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })
	for _, name := range names {
		if name != "" && (strings.EqualFold(core, name) || strings.EqualFold(text, name)) {
			return fmt.Errorf("%w password: it is the name of the user, of the cluster or of the service, with nothing but digits and punctuation around it", ErrInvalid)
		}
	}
	return nil
}

// isRun reports whether each character is as far from the one before it as the second is from the first: the same, the next or the
// previous one.
func isRun(text string) bool {
	all := []rune(text)
	if len(all) < 2 {
		return true
	}
	step := all[1] - all[0]
	if step < -1 || step > 1 {
		return false
	}
	for i := 1; i < len(all); i++ {
		// After 9 comes 0.
		if next := all[i] - all[i-1]; next != step && (step != 1 || all[i-1] != '9' || all[i] != '0') {
			return false
		}
	}
	return true
}

// commonPasswords are passwords of eight characters and more that guessing begins with. Case does not count.
const commonPasswords = `
password passw0rd p@ssw0rd p@ssword pa$$word pa55word password1 password2 password12 password123 password1234 password! passw0rd1
passw0rd123 mypassword thepassword passwort passwort1 motdepasse contrasena contraseña parola123 wachtwoord haslo123 senha123
1password 123password admin123 admin1234 admin12345 administrator administrator1 adminadmin root1234 rootroot toortoor superuser
changeme changeme1 changeme123 letmein1 letmein123 letmeinnow welcome1 welcome12 welcome123 welcome2026 default1 default123
guest123 test1234 test12345 testtest testing1 testing123 secret12 secret123 secretsecret topsecret opensesame temp1234 temporary
qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwertz123 qwertzui qwertzuiop azertyui azertyuiop asdfghjk asdfghjkl asdf1234
zxcvbnm1 zxcvbnm123 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qazxsw2 zaq12wsx q1w2e3r4 q1w2e3r4t5 qazwsxedc 1234qwer qwer1234 123qweasd
abc12345 abcd1234 abc123456 abc123abc a1b2c3d4 aa123456 a1234567 a12345678 123456789a 123456abc 123abc123 12341234 12344321 12121212
11223344 11112222 10203040 1212121212 123123123 123321123 147258369 159753456 789456123 987654321 741852963 66668888
iloveyou iloveyou1 iloveyou2 sunshine sunshine1 princess princess1 football football1 baseball baseball1 basketball superman superman1
batman123 trustno1 starwars pokemon1 pokemon123 minecraft computer computer1 internet internet1 samsung1 michelle jennifer jessica1
jordan23 charlie1 michael1 ashley123 daniel123 liverpool liverpool1 chelsea1 arsenal1 barcelona mustang1 harley123 corvette mercedes
ferrari1 dragon12 dragon123 monkey12 monkey123 shadow12 shadow123 master12 master123 butterfly chocolate whatever whatever1 freedom1
blink182 metallica slipknot godzilla spiderman spongebob snowball midnight midnight1 november december september elephant dolphins
victoria veronica katherine alexander elizabeth christine stephanie jonathan maverick hardcore scorpion cowboys1 steelers patriots
yankees1 rangers1 zaqxswcde zaq1zaq1 !qaz2wsx !@#$%^&* !@#$%^&*() passpass pass1234 pass12345 pass@123 pass@1234 p@ssw0rd1 p@ssw0rd123
summer2024 summer2025 summer2026 winter2024 winter2025 winter2026 spring2025 spring2026 autumn2025 autumn2026 hello123 hello1234
helloworld login123 loginlogin user1234 useruser access14 access123 kubernetes docker123 server123 cluster1 cluster123 vagrant1
oracle123 oracle12 postgres postgres1 mysql123 raspberry cisco123 ubnt1234 supervisor operator1 manager1 monitor1 backup123 service1
`
