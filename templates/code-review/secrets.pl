#!/usr/bin/env perl
# Credentials in tracked files. What is found is never printed: a message shows a token's public prefix and its length,
# or the name a value was assigned to.
#
# Three kinds, from sure to likely:
#   tokens        have a shape of their own (rules S001–S009); reported wherever they stand
#   environment   .env files with a secret-looking name and a value (S012)
#   assignments   a telling name and a literal value that looks random (S010), a password in a URL (S011)
#
# In tests and prose most credentials are made up: there a private key is "medium", an assignment or a URL "low". A
# token of a provider stays what it is: it works wherever it was found.
#
# Not reported: placeholders (see `is_placeholder`), values read from elsewhere (${…}, {{…}}, a call), and tokens with
# too little variety to be real. A token that says EXAMPLE is a "note": documentation, but in a real token's place.

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Checkout;
use Report;

# A line longer than this is generated; only tokens are looked for in it.
use constant MAX_LINE => 4_000;

# rule, what it is, its shape ($1 is the secret), and how much of it is a public prefix. Each has its own prefix, so
# their order does not matter.
my @TOKENS = (
    ['EPR-S001', 'AWS access key id',     qr/(?<![A-Za-z0-9])((?:AKIA|ASIA)[0-9A-Z]{16})(?![A-Za-z0-9])/, 4],
    ['EPR-S003', 'GitHub token',          qr/(?<![A-Za-z0-9])(gh[pousr]_[A-Za-z0-9]{36,251})/, 4],
    ['EPR-S003', 'GitHub token',          qr/(?<![A-Za-z0-9])(github_pat_[A-Za-z0-9_]{40,240})/, 11],
    ['EPR-S004', 'GitLab token',          qr/(?<![A-Za-z0-9])(gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,})/, 6],
    ['EPR-S005', 'Slack token',           qr/(?<![A-Za-z0-9])(xox[abeoprs]-[0-9A-Za-z-]{20,250})/, 5],
    ['EPR-S005', 'Slack app token',       qr/(?<![A-Za-z0-9])(xapp-[0-9]-[0-9A-Za-z-]{20,250})/, 5],
    ['EPR-S005', 'Slack webhook',         qr{(hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{16,40})}, 24],
    ['EPR-S006', 'live Stripe key',       qr/(?<![A-Za-z0-9])([rs]k_live_[A-Za-z0-9]{16,247})/, 8],
    ['EPR-S007', 'Google API key',        qr/(?<![A-Za-z0-9_-])(AIza[0-9A-Za-z_-]{35})(?![0-9A-Za-z_-])/, 4],
    ['EPR-S008', 'JSON web token',        qr/(?<![A-Za-z0-9_-])(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,})/, 3],
    ['EPR-S009', 'Anthropic API key',     qr/(?<![A-Za-z0-9])(sk-ant-[A-Za-z0-9_-]{24,})/, 7],
    ['EPR-S009', 'OpenAI API key',        qr/(?<![A-Za-z0-9])(sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{32,})/, 8],
    ['EPR-S009', 'OpenRouter API key',    qr/(?<![A-Za-z0-9])(sk-or-v1-[0-9a-f]{48,})/, 9],
    ['EPR-S009', 'npm token',             qr/(?<![A-Za-z0-9])(npm_[A-Za-z0-9]{36})(?![A-Za-z0-9])/, 4],
    ['EPR-S009', 'PyPI token',            qr/(?<![A-Za-z0-9])(pypi-AgEI[A-Za-z0-9_-]{40,})/, 5],
    ['EPR-S009', 'Rust registry token',   qr/(?<![A-Za-z0-9])(cio[A-Za-z0-9]{32})(?![A-Za-z0-9])/, 3],
    ['EPR-S009', 'Hugging Face token',    qr/(?<![A-Za-z0-9])(hf_[A-Za-z0-9]{34})(?![A-Za-z0-9])/, 3],
    ['EPR-S009', 'SendGrid key',          qr/(?<![A-Za-z0-9])(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})/, 3],
    ['EPR-S009', 'DigitalOcean token',    qr/(?<![A-Za-z0-9])(do[opr]_v1_[0-9a-f]{64})/, 7],
    ['EPR-S009', 'Vault token',           qr/(?<![A-Za-z0-9])(hv[bs]\.[A-Za-z0-9_-]{24,})/, 4],
    ['EPR-S009', 'age secret key',        qr/(?<![A-Za-z0-9])(AGE-SECRET-KEY-1[0-9A-Z]{58})/, 16],
    ['EPR-S009', 'Shopify token',         qr/(?<![A-Za-z0-9])(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})/, 6],
    ['EPR-S009', 'Telegram bot token',    qr/(?<![A-Za-z0-9])([0-9]{8,10}:AA[A-Za-z0-9_-]{33})(?![A-Za-z0-9_-])/, 0],
);
# Fixed words, one of which a line must hold to be looked at. Nothing but words, in every usual case: Perl searches for
# a list of plain words thirty times faster than for one that says "in any case".
my @PREFIXES = qw(AKIA ASIA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- gldt- glrt- glcbt- glptt- glft- glsoat- xoxa- xoxb- xoxe- xoxo- xoxp- xoxr-
    xoxs- xapp- hooks.slack k_live_ AIza eyJ sk-ant- sk-proj- sk-svcacct- sk-admin- sk-or-v1- npm_ pypi-AgEI cio hf_ SG. doo_v1_ dop_v1_ dor_v1_
    hvb. hvs. AGE-SECRET shpat_ shpca_ shppa_ shpss_ :AA -----BEGIN);
my @WORDS = map { ($_, ucfirst, uc) } qw(passw passphrase pwd secret token api_key api-key apikey apiKey access_key access-key accesskey accessKey auth_key
    auth-key authkey authKey private_key private-key privatekey privateKey credential);
my $PREFIX = do { my $any = join '|', map { quotemeta } @PREFIXES; qr/$any/ };
my $PROMISING = do { my $any = join '|', map { quotemeta } @PREFIXES, @WORDS, qw(_KEY ://); qr/$any/ };

my $TELLING = qr/passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key|private[_-]?key|credential/i;
# Names that tell of something beside the secret: where it is, how long it is, what it is called.
my $BESIDE = qr/(?i:file|path|url|uri|names?|field|header|prefix|suffix|pattern|regex|type|kind|label|title|text|message|hint|help|description|placeholder|length|size|limits?|count|ttl|expiry|expires|expiration|time|date|policy|rules?|hash|digest|algorithm|format|scope|store|manager|provider|endpoint|class|selector|input|error|version|public|used|changed|enabled|required)\z|[_-](?i:re|at|ids?|dir|env|var|len|min|max|msg|ref)\z|(?:Re|At|I[dD]s?|Dir|Env|Var|Len|Min|Max|Msg|Ref)\z/;
# Tokens that open nothing: places in a list, marks against doing a thing twice.
my $NO_SECRET = qr/(?:next|previous|prev|page|pagination|continuation|forward|backward|sync|request|client|change|update|idempotency|resume|starting|input|output)[_-]?token\z/i;
my $PASSWORD = qr/passw|passphrase|pwd/i;
# Formats in which a value stands without quotes.
my $UNQUOTED = qr/\.(?:ya?ml|ini|cfg|conf|cnf|properties|env|tfvars|netrc|npmrc|pypirc)\z|(?:\A|\/)\.(?:netrc|npmrc|pypirc|pgpass)\z/i;
my $ENV_FILE = qr{(?:\A|/)(?:\.env(?:\.[A-Za-z0-9_-]+)*|[A-Za-z0-9_-]+\.env)\z};
my $ENV_SAMPLE = qr/\.(?:example|sample|template|tmpl|dist|defaults?|schema)\b|(?:\A|\/)(?:example|sample|template)\.env\z/i;

my $checkout = Checkout->from_env;
my $report = Report->begin('secrets');
$checkout->each_text(\&look);
$report->finish($checkout);

sub look {
    my ($entry, $content) = @_;
    my $path = $entry->{path};
    my $places = Checkout::Places->of($content);
    my $mild = Checkout::Kinds::is_test($path) || Checkout::Kinds::is_prose($path);
    my $guess = !Checkout::Kinds::is_vendored($path);
    my $is_env = $path =~ $ENV_FILE && $path !~ $ENV_SAMPLE;

    pos($$content) = 0;
    while ($$content =~ /$PROMISING/g) {
        my ($line, $start, $end) = $places->line_at($-[0]);
        my @hidden = $line =~ $PREFIX ? tokens($path, $content, $places, $line, $start, $mild) : ();
        if ($guess && length $line <= MAX_LINE) {
            # What a token rule has named is not guessed at again.
            substr($line, $_->[0], $_->[1], '*' x $_->[1]) for @hidden;
            in_url($path, $places, $line, $start, $mild) if index($line, '://') >= 0;
            $is_env ? environment($path, $places, $line, $start) : assignment($path, $places, $line, $start, $mild);
        }
        last if $end >= length $$content;
        pos($$content) = $end;
    }
    return;
}

# Reports the tokens of a line; returns where they stand.
sub tokens {
    my ($path, $content, $places, $line, $start, $mild) = @_;
    my @hidden;
    for my $token (@TOKENS) {
        my ($rule, $what, $shape, $public) = @$token;
        while ($line =~ /$shape/g) {
            my ($at, $secret) = ($-[1], $1);
            next if is_flat(substr $secret, $public);
            next if $rule eq 'EPR-S008' && $secret =~ /\.eyJzdWIiOiIxMjM0NTY3ODkwIi/;    # the token that every tutorial shows
            push @hidden, [$at, length $secret];
            my $example = $secret =~ /EXAMPLE/i;
            my ($row, $column) = $places->find($start + $at);
            $report->finding(
                rule => $rule, path => $path, line => $row, column => $column,
                evidence => $what . length $secret,
                ($example ? (severity => 'note') : ()),
                message => 'This looks like ' . ($what =~ /\A(?:[AEIOaeio]|npm)/ ? 'an' : 'a') . " $what: " . substr($secret, 0, $public) . '… (' . length($secret) . ' characters)'
                    . ($example ? ', from documentation by its own words.' : '.'),
            );
        }
    }
    while ($line =~ /-----BEGIN ((?:[A-Z0-9]+ ){0,3})PRIVATE KEY(?: BLOCK)?-----/g) {
        my ($at, $kind, $after) = ($-[0], $1, $+[0]);
        next if !has_key_body(substr $$content, $start + $after, 400);
        push @hidden, [$at, length($line) - $at];
        my ($row, $column) = $places->find($start + $at);
        $report->finding(
            rule => 'EPR-S002', path => $path, line => $row, column => $column, evidence => "private key $kind",
            ($mild ? (severity => 'medium') : ()),
            message => "A private key with its body ($kind" . 'PRIVATE KEY).',
        );
    }
    return @hidden;
}

# Whether key material follows a header: a header alone is documentation, or code that looks for keys. In JSON and in
# string literals the line ends are written \n.
sub has_key_body {
    my ($after) = @_;
    $after =~ s/\\r|\\n/\n/g;
    $after =~ s/\A(?:\s*[A-Za-z-]+: [^\n]*\n)+//;    # Proc-Type and the like
    $after =~ s/[\s"'+,]+//g;
    return $after =~ m{\A=?[A-Za-z0-9+/]{40}} && !is_flat(substr $after, 0, 40);
}

sub in_url {
    my ($path, $places, $line, $start, $mild) = @_;
    while ($line =~ m{\b([a-z][a-z0-9+.-]{1,20})://([^\s:/?#\@'"`<>]{1,100}):([^\s\@/'"`<>]{3,200})\@([A-Za-z0-9.\[-][A-Za-z0-9.:\]-]*)}g) {
        my ($at, $scheme, $user, $password, $host) = ($-[3], $1, $2, $3, $4);
        next if is_placeholder($password) || is_placeholder($user) || $password eq $user;
        next if $host =~ /\A(?:localhost|127\.|\[?::1|0\.0\.0\.0|host\b|(?:[a-z0-9-]+\.)*example(?:\.|\z)|.*\.(?:test|invalid|example)\z)/i;
        my ($row, $column) = $places->find($start + $at);
        $report->finding(
            rule => 'EPR-S011', path => $path, line => $row, column => $column, evidence => "$scheme $host",
            ($mild ? (severity => 'low') : ()),
            message => "A $scheme URL holds a password (" . length($password) . ' characters).',
        );
    }
    return;
}

sub assignment {
    my ($path, $places, $line, $start, $mild) = @_;
    while ($line =~ /(?<![A-Za-z0-9_:-])([A-Za-z0-9_.-]{0,40}?(?:$TELLING)[A-Za-z0-9_-]{0,40})["'\]]{0,2}\s*(?::\s*[&A-Za-z'<>]{1,24}\s*)?(?::=|=>|[:=])\s*(?:(["'`])([^"'`]{6,200})\2|([^\s"'`#;,]{6,200})(?=\s*(?:#.*)?\z))/g) {
        my ($name, $quoted, $bare, $at) = ($1, $3, $4, defined $3 ? $-[3] : $-[4]);
        my $value = defined $quoted ? $quoted : $bare;
        next if defined $bare && $path !~ $UNQUOTED;
        next if $name =~ $BESIDE || $name =~ $NO_SECRET || !is_secret_value($name, $value);
        my ($row, $column) = $places->find($start + $at);
        $report->finding(
            rule => 'EPR-S010', path => $path, line => $row, column => $column, evidence => $name,
            ($mild ? (severity => 'low') : ()),
            message => "'$name' is assigned a literal of " . length($value) . ' characters that looks like a credential.',
        );
    }
    return;
}

sub environment {
    my ($path, $places, $line, $start) = @_;
    return if $line !~ /\A\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(["']?)(\S.*?)\2\s*\z/;
    my ($name, $value, $at) = ($1, $3, $-[3]);
    return if $name !~ $TELLING && $name !~ /_KEY\z/;
    return if $name =~ $BESIDE || length $value < 4 || is_placeholder($value);
    my ($row, $column) = $places->find($start + $at);
    $report->finding(
        rule => 'EPR-S012', path => $path, line => $row, column => $column, evidence => $name,
        message => "A tracked environment file gives '$name' a value (" . length($value) . ' characters).',
    );
    return;
}

# Whether a literal looks chosen or made, not described: passwords hold a digit or a sign and at least six characters;
# secrets, tokens and keys hold letters and digits, at least sixteen characters, and vary.
sub is_secret_value {
    my ($name, $value) = @_;
    return 0 if is_placeholder($value) || $value =~ /\s/;
    return 0 if lc $value eq lc $name;
    return 0 if $value =~ /\A[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\z/i;    # a UUID is a name
    return 0 if $value =~ /\A[0-9]{4}-[0-9]{2}-[0-9]{2}/;                        # a date
    return 0 if $value =~ m{\A(?:[a-z][a-z0-9+.-]*://|\.{0,2}/|~)}i;        # a place
    return 0 if $value =~ /\A[A-Za-z]+(?:[._:\/-][A-Za-z]+)*[.:\/-]?\z/;    # words: an identifier, a key of a translation
    return 0 if $value =~ /\\[wdsbWDSB]|\[\^?[a-zA-Z0-9]-|\(\?/;            # a regular expression
    return 0 if $value =~ /[({<][^)}>]*\z|\A[^({<]*[)}>]/ && $name !~ $PASSWORD;
    if ($name =~ $PASSWORD) {
        return $value =~ /[0-9!@#\$%^&*+=?~]/ && variety($value) >= 2;
    }
    return length $value >= 16 && $value =~ /[A-Za-z]/ && $value =~ /[0-9]/ && variety($value) >= 3;
}

# Values that stand for another: words that say so, references, runs of one character.
sub is_placeholder {
    my ($value) = @_;
    return 1 if $value =~ /example|sample|placeholder|change[_-]?(?:me|it|this)|replace[_-]?(?:me|this)|insert[_-]|dummy|fake|redacted|not[_-]?a[_-]?(?:real|secret)|your[_-]?|todo|xxx|\*\*\*|\.\.\.|…|_here\b/i;
    return 1 if $value =~ /\$\{|\$\(|\{\{|\}\}|#\{|%\(|%[sdv]|<[^>]*>|\A[\$%&@!]\{?[A-Za-z_]|\A\{[^}]*\}\z|process\.env|environ|getenv|ENV\[|vault:|secrets\.|\A(?:env|file|ref|op|sops|arn):/i;
    return 1 if $value =~ /\A(?:null|none|nil|undefined|true|false|empty|unset|optional|required|string|password|passwd|pass|secret|token|user|username|test|testing)[0-9]{0,3}\z/i;
    return 1 if $value =~ /\A(.)\1*\z/s;
    return 0;
}

# A token's body with too little variety to have been made at random.
sub is_flat { return variety($_[0]) < 2.5 }

# Shannon entropy in bits per character.
sub variety {
    my ($text) = @_;
    my $length = length $text or return 0;
    my %count;
    $count{$_}++ for split m{}, $text;
    my $bits = 0;
    $bits -= $_ / $length * log($_ / $length) / log 2 for values %count;
    return $bits;
}
