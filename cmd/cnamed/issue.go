package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cnamed/acmeclient"
	"cnamed/acmeclient/certdir"
	"cnamed/acmeclient/certdir/durable"
	"cnamed/acmeclient/delegate"
)

// issueFlags are what `issue` can be told beyond the plan that it keeps.
type issueFlags struct {
	clientFlags
	server     serverFlags
	plan       plan
	names      []string
	staging    bool
	agreeTerms bool
	wait       bool
	eabKeyID   string
	eabKeyFile string
	eab        *acmeclient.EAB
}

func newIssue() *cobra.Command {
	var f issueFlags
	cmd := &cobra.Command{
		Use:   "issue --server URL -d NAME...",
		Short: "Obtain a certificate",
		Long: `Obtains one certificate for all the names given, wildcards too, by DNS-01
challenges that are delegated to the server. What is not registered yet is
registered. Nothing is ordered before the CNAME record of every domain is in
place; the records that are missing are named, and --wait waits for them.

Every flag is also a variable, --server is CNAMED_SERVER (-d is CNAMED_DOMAINS,
with commas between); the flag wins.

The files are <dir>/live/<name>/cert.pem, chain.pem, fullchain.pem, privkey.pem,
replaced all at once. cnamed renew renews them with the same options.`,
		Example: `  cnamed issue --server https://auth.example.org --agree-tos \
      -d example.com -d '*.example.com'
  cnamed issue --server https://auth.example.org --staging --wait -d example.net
  cnamed issue --server https://auth.example.org -d example.com \
      --deploy-hook 'systemctl reload nginx'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	f.clientFlags.add(cmd)
	f.server.add(cmd)
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.names, "domain", "d", nil, "a name of the certificate; '*.example.com' for a wildcard (repeatable)")
	_ = flags.SetAnnotation("domain", variableKey, []string{"CNAMED_DOMAINS"})
	flags.StringVar(&f.plan.Name, "name", "", "name of the certificate's folder (default: the first domain)")
	flags.StringVar(&f.plan.CA, "ca", "letsencrypt", "the CA: "+presetNames()+", or the URL of a directory")
	flags.StringVar(&f.plan.CARoot, "ca-root", "", "PEM file with the roots of the CA's own HTTPS (default: the system's)")
	flags.BoolVar(&f.staging, "staging", false, "use Let's Encrypt's staging CA, whose certificates nobody trusts")
	flags.StringVar(&f.plan.Email, "email", "", "contact of the CA account")
	flags.BoolVar(&f.agreeTerms, "agree-tos", false, "agree to the CA's terms of service, which a new account needs")
	flags.StringVar(&f.eabKeyID, "eab-kid", "", "key identifier of the external account that the CA asks for")
	flags.StringVar(&f.eabKeyFile, "eab-hmac-file", "", "file with the external account's MAC key, in base64url")
	flags.StringVar(&f.plan.KeyType, "key-type", string(acmeclient.EC256), "key of the certificate: ec256, ec384, rsa2048, rsa3072 or rsa4096")
	flags.StringArrayVar(&f.plan.Resolvers, "resolver", nil, "ask this resolver, host:port, for everything, instead of every authoritative server (repeatable)")
	flags.StringVar(&f.plan.DeployHook, "deploy-hook", "", "shell command to run after the files are in place")
	flags.BoolVar(&f.wait, "wait", false, "wait for the CNAME records to appear")
	return cmd
}

func (f *issueFlags) run(cmd *cobra.Command) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	w, err := f.open(cmd)
	if err != nil {
		return err
	}
	options := issueOptions{wait: f.wait, agreeTerms: f.agreeTerms, eab: f.eab, confirm: func() error { return nil }}
	if !cmd.Flags().Changed("name") {
		options.confirm = func() error { return w.checkReplaces(f.plan) }
	}
	if err := options.confirm(); err != nil {
		return err
	}
	result, err := w.obtain(cmd.Context(), f.plan, options)
	if err != nil {
		return err
	}
	if f.asJSON {
		err = printJSON(cmd.OutOrStdout(), result)
	} else {
		result.print(cmd.OutOrStdout())
	}
	return errors.Join(err, w.runDeployHook(cmd.Context(), f.plan, result.Names, result.Files))
}

// checkReplaces refuses to put a certificate in the place of one that has names
// which it lacks, unless that place was asked for: example.com and *.example.com
// alone would have the same.
func (w *workspace) checkReplaces(p plan) error {
	files, err := w.certificates.Load(p.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	hint := fmt.Sprintf("--name %s replaces it all the same, another --name keeps both", p.Name)
	leaf, leafErr := parseLeaf(files.Cert)
	if err = errors.Join(err, leafErr); err != nil {
		return withHint(fmt.Errorf("the certificate %s, which is there, cannot be read: %w", p.Name, err), hint)
	}
	for _, name := range leaf.DNSNames {
		if !slices.Contains(p.Names, name) {
			return withHint(fmt.Errorf("the certificate %s, which is there, is also for %s", p.Name, name), hint)
		}
	}
	return nil
}

// check completes the plan, and finds all that is wrong with it at once.
func (f *issueFlags) check(cmd *cobra.Command) error {
	var errs []error
	found := func(err error) { errs = append(errs, asUsage(err)) }
	if len(f.names) == 0 {
		found(&usageError{"no name is given", "-d example.com -d '*.example.com'"})
	} else {
		found(f.checkNames())
	}
	if f.server.server == "" {
		found(&usageError{"no server is given", "name your own: --server https://auth.example.org"})
	}
	if f.staging && givenByFlag(cmd, "ca") {
		found(&usageError{"--staging and --ca exclude each other", "leave one of them out"})
	}
	if f.staging {
		f.plan.CA = "letsencrypt-staging"
	}
	var err error
	_, err = acmeclient.DirectoryURL(f.plan.CA)
	found(err)
	_, err = acmeclient.ParseKeyType(f.plan.KeyType)
	found(err)
	f.eab, err = f.readEAB()
	found(err)
	f.plan.Server, f.plan.AllowHTTP = f.server.server, f.server.insecure
	f.plan.ServerRoot, err = rootFile(f.server.root)
	found(err)
	f.plan.CARoot, err = rootFile(f.plan.CARoot)
	found(err)
	found((&delegate.Resolver{Servers: f.plan.Resolvers}).Check())
	return errors.Join(errs...)
}

// checkNames completes the names of the plan, and its own.
func (f *issueFlags) checkNames() (err error) {
	f.plan.Names, err = acmeclient.NormalizeNames(f.names)
	if f.plan.Name != "" {
		return errors.Join(err, certdir.CheckName(f.plan.Name))
	}
	if err == nil {
		f.plan.Name, err = certdir.Name(f.plan.Names[0])
	}
	return err
}

// rootFile returns the name of a file with roots as it is still valid for a later
// run elsewhere.
func rootFile(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	if _, err := readRoots(file); err != nil {
		return "", err
	}
	return filepath.Abs(file)
}

// readEAB returns the external account that the flags name, or nil.
func (f *issueFlags) readEAB() (*acmeclient.EAB, error) {
	if f.eabKeyID == "" && f.eabKeyFile == "" {
		return nil, nil
	}
	if f.eabKeyID == "" || f.eabKeyFile == "" {
		return nil, &usageError{"--eab-kid and --eab-hmac-file go together", "the CA's web pages give both"}
	}
	data, err := os.ReadFile(f.eabKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the MAC key: %w", err)
	}
	eab, err := acmeclient.NewEAB(f.eabKeyID, string(data))
	if err != nil {
		return nil, withHint(fmt.Errorf("%s: %w", f.eabKeyFile, err), "the file must hold the key alone, as the CA showed it")
	}
	return eab, nil
}

func presetNames() string {
	var names []string
	for _, p := range acmeclient.Presets {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// issued is a certificate that is in place.
type issued struct {
	Name     string        `json:"name"`
	Names    []string      `json:"names"`
	NotAfter time.Time     `json:"not_after"`
	Renewal  time.Time     `json:"renewal"`
	Serial   string        `json:"serial"`
	Issuer   string        `json:"issuer"`
	URL      string        `json:"url"`
	Files    certdir.Paths `json:"files"`
}

func (r issued) print(out io.Writer) {
	fmt.Fprintf(out, "certificate for %s\n", strings.Join(r.Names, ", "))
	fmt.Fprintf(out, "  valid until %s, due for renewal %s\n", r.NotAfter.Format(time.RFC3339), r.Renewal.Format(time.RFC3339))
	for _, path := range []string{r.Files.Cert, r.Files.Chain, r.Files.FullChain, r.Files.PrivKey} {
		fmt.Fprintf(out, "  %s\n", path)
	}
}

// issueOptions are what matters for this run only.
type issueOptions struct {
	wait       bool
	agreeTerms bool
	eab        *acmeclient.EAB // for a new account only

	// confirm is asked just before the order, when no other command changes the
	// certificates any more. Its error ends it.
	confirm func() error
}

// obtain is the whole way from a plan to files: registration, delegation,
// account, order, files. Until the last step nothing that is in use changes.
func (w *workspace) obtain(ctx context.Context, p plan, o issueOptions) (r issued, err error) {
	delegations, err := w.delegationsOf(ctx, p)
	if err != nil {
		return r, err
	}
	missing := delegations.check(ctx)
	if missing != nil && !o.wait {
		return r, missing
	}
	// Before the wait, which can take days: so that nothing is found wrong after it
	// that could have been found before.
	var client *acmeclient.Client
	err = w.locked(ctx, func() (err error) {
		client, err = openAccount(ctx, accountRequest{
			folder: w.folder, ca: p.CA, caRoot: p.CARoot, email: p.Email, agreesTerms: o.agreeTerms, eab: o.eab,
			say: w.talk.say, log: w.log,
		})
		return err
	})
	if err == nil && missing != nil {
		err = delegations.wait(ctx)
	}
	if err == nil {
		err = w.locked(ctx, func() (err error) {
			if err = o.confirm(); err == nil {
				r, err = w.order(ctx, p, client, delegations.solver())
			}
			return err
		})
	}
	if err != nil {
		return r, fmt.Errorf("certificate for %s: %w", strings.Join(p.Names, ", "), err)
	}
	return r, nil
}

// roomNeeded is more than the files of a certificate take, in bytes.
const roomNeeded = 64 << 10

// order is the part of obtain that counts against the limits of the CA. So what
// would make the last step fail is tried first.
func (w *workspace) order(ctx context.Context, p plan, client *acmeclient.Client, solver acmeclient.Solver) (r issued, err error) {
	if err := w.tryWriting(roomNeeded); err != nil {
		return r, err
	}
	keyType, err := acmeclient.ParseKeyType(p.KeyType)
	if err != nil {
		return r, err
	}
	key, err := keyType.Generate()
	if err != nil {
		return r, err
	}
	certificate, err := client.Obtain(ctx, acmeclient.Request{Names: p.Names, Key: key, Solver: solver, Observe: w.talk.progress})
	if err != nil {
		return r, err
	}
	files, err := filesOf(certificate, p)
	if err != nil {
		return r, err
	}
	if err := w.oweHook(p); err != nil {
		return r, err
	}
	paths, err := w.certificates.Save(p.Name, files)
	if err != nil {
		return r, err
	}
	leaf := certificate.Leaf
	return issued{
		Name: p.Name, Names: leaf.DNSNames, NotAfter: leaf.NotAfter, Renewal: acmeclient.RenewalTime(leaf),
		Serial: fmt.Sprintf("%x", leaf.SerialNumber), Issuer: leaf.Issuer.String(), URL: certificate.URL, Files: paths,
	}, nil
}

// tryWriting returns nil when a file of the given size can be written now.
func (w *workspace) tryWriting(size int) error {
	file := filepath.Join(w.folder, ".room")
	err := durable.WriteFile(file, make([]byte, size), 0o600)
	if err != nil {
		return withHint(fmt.Errorf("there is no room for a certificate: %w", err), "free some space, or see who may write "+w.folder)
	}
	return os.Remove(file)
}
