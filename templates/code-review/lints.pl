#!/usr/bin/env perl
# Faults that can be told from a file alone: syntax, dangerous shell, hidden characters, broken links.
#
# Nothing of the checkout is run: shells parse with -n, Python compiles without importing. python3 and shellcheck take
# part when they are installed; the summary says which did.

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Checkout;
use Json;
use Errno ();
use POSIX ();
use Report;

# Shell scripts that are parsed by a shell, a process each.
use constant MAX_SCRIPTS => 2_000;
# How long one outside program may take. A thousand usual scripts take less.
use constant PROGRAM_SECONDS => 60;
# A script that shellcheck is not asked about: it takes more than linear time, and nobody writes so much by hand.
use constant MAX_SHELLCHECK_BYTES => 128 << 10;
# Python files compiled by one python3.
use constant MAX_PYTHON => 20_000;

# A shell line longer than this is generated; the patterns for dangerous ones take their time on it.
use constant MAX_LINE => 4_000;

# JSON by name that is written with comments.
my $RELAXED_JSON = qr{(?:\A|/)(?:[tj]sconfig[^/]*|devcontainer|\.?eslintrc|\.?babelrc|\.?swcrc|api-extractor|language-configuration|deno|turbo|nx|\.jshintrc|wrangler|renovate|biome)\.json\z|(?:\A|/)\.(?:vscode|devcontainer|zed)/}i;
# Files that are broken on purpose.
my $MEANT_BROKEN = qr{invalid|broken|malformed|corrupt|bad|error|fail|fuzz}i;
my $SOURCE = qr/\.(?:c|h|cc|cpp|cxx|hh|hpp|cs|go|java|js|jsx|mjs|cjs|ts|tsx|kt|kts|lua|php|pl|pm|py|pyi|rb|rs|scala|sh|bash|sql|swift|tf|vue|svelte|zig|ya?ml|toml)\z/i;
# U+202A–U+202E and U+2066–U+2069.
my $HIDDEN = qr/\xe2\x80[\xaa-\xae]|\xe2\x81[\xa6-\xa9]/;

my $checkout = Checkout->from_env;
my $report = Report->begin('lints');
my (@scripts, @python, %markers);

$checkout->each_text(sub {
    my ($entry, $content) = @_;
    my $path = $entry->{path};
    my $places = Checkout::Places->of($content);
    my $interpreter = interpreter($content);
    count_markers($path, $content, $places);
    hidden_direction($path, $content, $places) if $path =~ $SOURCE || defined $interpreter;
    return if Checkout::Kinds::is_vendored($path);

    line_endings($path, $content);
    json($path, $content, $places) if $path =~ /\.json\z/i;
    my $shell = Checkout::Kinds::is_shell($path) || (defined $interpreter && $interpreter =~ /\A(?:ba|da|k|z)?sh\z/);
    dangerous_shell($path, $content, $places) if $shell || Checkout::Kinds::is_ci($path) || Checkout::Kinds::is_build($path);
    push @scripts, [$entry, $interpreter, $$content =~ /extglob/ ? 1 : 0] if $shell;
    push @python, $entry if $path =~ /\.py\z/ || (defined $interpreter && $interpreter =~ /\Apython3/);
    if ($entry->{mode} eq '100755' && length $$content && !defined $interpreter) {
        $report->finding(
            rule => 'EPR-L007', path => $path, evidence => 'mode',
            message => 'The file is executable but has no #! line to say what runs it.',
        );
    }
});
links();
shell_syntax();
python_syntax();
marker_note();
$report->finish($checkout);

# The program a #! line names, without its folder; `env` is looked through.
sub interpreter {
    my ($content) = @_;
    return undef if $$content !~ m{\A(?:\xef\xbb\xbf)?\#!\s*(\S+)((?:[ \t]+\S+)*)};
    my ($program, $rest) = ($1, $2);
    return $1 if $program =~ m{(?:\A|/)env\z} && $rest =~ m{\A(?:\s+-\S+|\s+\w+=\S*)*\s+(?:\S*/)?(\S+)};
    $program =~ s{.*/}{};
    return $program;
}

sub count_markers {
    my ($path, $content, $places) = @_;
    while ($$content =~ /\b(TODO|FIXME|XXX)\b(?=[:( ]|$)/gm) {
        $markers{$1}++;
        next if $markers{first};
        my ($row, $column) = $places->find($-[1]);
        $markers{first} = [$path, $row, $column];
    }
    return;
}

sub marker_note {
    my $first = delete $markers{first} or return;
    my @counts = map { "$markers{$_} $_" } sort keys %markers;
    $report->finding(
        rule => 'EPR-L005', path => $first->[0], line => $first->[1], column => $first->[2], evidence => 'markers',
        message => 'Open markers in the whole checkout: ' . join(', ', @counts) . '; the first is here.',
    );
    return;
}

sub hidden_direction {
    my ($path, $content, $places) = @_;
    return if $$content !~ $HIDDEN;
    my ($row, $column) = $places->find($-[0]);
    $report->finding(
        rule => 'EPR-L011', path => $path, line => $row, column => $column, evidence => 'direction',
        message => 'A character here changes the direction of text: what is shown is not what runs.',
    );
    return;
}

# Reported at the first line that ends as the fewer do.
sub line_endings {
    my ($path, $content) = @_;
    return if index($$content, "\r\n") < 0;
    my $crlf = () = $$content =~ /\r\n/g;
    my $lf = ($$content =~ tr/\n//) - $crlf;
    return if $lf == 0;
    my $rare = $crlf <= $lf ? qr/\r\n/ : qr/(?<!\r)\n/;
    $$content =~ /$rare/g;
    my $row = 1 + (substr($$content, 0, $-[0]) =~ tr/\n//);
    pos($$content) = 0;
    $report->finding(
        rule => 'EPR-L004', path => $path, line => $row, evidence => 'endings',
        message => "$crlf lines end in CRLF and $lf in LF; this is the first of the fewer.",
    );
    return;
}

sub json {
    my ($path, $content, $places) = @_;
    return if $path =~ $RELAXED_JSON || (Checkout::Kinds::is_test($path) && $path =~ $MEANT_BROKEN);
    return if $$content =~ /\{\{|\{%/;    # a template
    my (undef, $reason, $offset) = Json::decode($$content);
    return if !defined $reason || is_json_lines($content);
    my ($row, $column) = $places->find($offset);
    $report->finding(
        rule => 'EPR-L002', path => $path, line => $row, column => $column, evidence => $reason,
        message => "Not JSON: $reason.",
    );
    return;
}

# One document a line is a format of its own that often carries the name .json.
sub is_json_lines {
    my ($content) = @_;
    my @lines = grep { /\S/ } split /\n/, $$content;
    return 0 if @lines < 2;
    for my $line (@lines) {
        my (undef, $reason) = Json::decode($line);
        return 0 if defined $reason;
    }
    return 1;
}

sub dangerous_shell {
    my ($path, $content, $places) = @_;
    my $offset = 0;
    for my $line (split /\n/, $$content, -1) {
        my $start = $offset;
        $offset += 1 + length $line;
        if (length $line > MAX_LINE) { $checkout->{skipped}{'a shell line of more than 4,000 bytes'}++; next }
        next if $line =~ /\A\s*#/ || $line =~ /\A\s*(?:-\s+)?(?:echo|printf|say|log|info)\b/;
        my $tell = sub {
            my ($rule, $at, $message) = @_;
            my ($row, $column) = $places->find($start + $at);
            $report->finding(rule => $rule, path => $path, line => $row, column => $column, evidence => $message, message => $message);
        };
        $tell->('EPR-L008', $-[0], 'A download goes straight into a shell: whoever answers it decides what runs.')
            if $line =~ m{\b(?:curl|wget)\b[^|;#\n]*\|\s*(?:sudo\s+(?:-\S+\s+)*)?(?:\S*/)?(?:ba|da|z|k)?sh\b(?!\w)};
        $tell->('EPR-L009', $-[0], 'eval runs whatever the variable holds.')
            if $line =~ /(?:\A|[;&|({]|\bthen|\bdo|\belse)\s*\Keval\s+["']?\$\{?[A-Za-z_@*0-9]/;
        $tell->('EPR-L010', $-[0], "rm -rf of '\$$1/': the root of the file system when \$$1 is empty.")
            if $line =~ m{\brm\s+(?=(?:-\S+\s+)*-(?:\w*[rR]|-recursive))(?:-\S+\s+)+(?:\S+\s+)*?["']?\$\{?(\w+)\}?["']?/["']?(?:\*["']?)?(?=\s|;|&|\||\)|\z)};
    }
    return;
}

sub links {
    my %tracked = map { $_->{path} => 1 } $checkout->entries;
    for my $entry ($checkout->entries) {
        next if $entry->{mode} ne '120000' || Checkout::Kinds::is_vendored($entry->{path});
        my $path = $entry->{path};
        if (!$checkout->plain_folders($path)) { $checkout->{skipped}{'not in the working tree'}++; next }
        my $target = readlink "$checkout->{root}/$path";
        if (!defined $target) { $checkout->{skipped}{'not in the working tree'}++; next }
        my $tell = sub {
            $report->finding(rule => 'EPR-L006', path => $path, evidence => $target, message => "A symbolic link $_[0].");
        };
        if ($target =~ m{\A/}) { $tell->("to the absolute path '$target', which is elsewhere on every other machine"); next }
        my $inside = resolve($path, $target);
        if (!defined $inside) { $tell->("that leaves the checkout: '$target'"); next }
        next if $inside eq '' || $tracked{$inside};
        next if $checkout->plain_folders("$inside/x") || (lstat "$checkout->{root}/$inside" && $checkout->plain_folders($inside));
        # Behind another tracked link: that one is judged by itself.
        next if grep { $tracked{$_} } parents($inside);
        $tell->("to nothing: '$target'");
    }
    return;
}

# A relative target from the folder of `path`, without dots; undef when it leaves the checkout.
sub resolve {
    my ($path, $target) = @_;
    my @parts = split m{/}, $path;
    pop @parts;
    for my $part (split m{/+}, $target) {
        next if $part eq '' || $part eq '.';
        if ($part ne '..') { push @parts, $part; next }
        return undef if !@parts;
        pop @parts;
    }
    return join '/', @parts;
}

sub parents {
    my ($path) = @_;
    my @found;
    push @found, $path while $path =~ s{/[^/]*\z}{};
    return @found;
}

# ── with a shell, python3, shellcheck ────────────────────────────────────────────────────────────────────────────

# Output and exit code of a program that gets no input and little environment.
sub ask {
    my (@command) = @_;
    my $child = open my $output, '-|';
    die "code-review: cannot start a process: $!\n" if !defined $child;
    if (!$child) {
        delete @ENV{qw(BASH_ENV ENV SHELLOPTS BASHOPTS)};
        open STDIN, '<', '/dev/null';
        open STDERR, '>&', \*STDOUT;
        { no warnings 'exec'; exec {$command[0]} @command }
        POSIX::_exit(127);
    }
    binmode $output;
    # A file can keep a parser busy for hours: each program has its time.
    my $said = '';
    my $late = 0;
    local $SIG{ALRM} = sub { $late = 1; kill 'KILL', $child };
    alarm PROGRAM_SECONDS;
    while (!$late) {
        my $got = sysread $output, $said, 65_536, length $said;
        last if defined $got ? $got == 0 : !$!{EINTR};
    }
    alarm 0;
    close $output;
    return ('', 124, 0) if $late;
    return ($said, $? >> 8, $? & 127);
}

sub installed {
    my ($program) = @_;
    return scalar grep { -x "$_/$program" && !-d _ } split /:/, $ENV{PATH} || '/usr/bin:/bin';
}

sub shell_syntax {
    my $shellcheck = installed('shellcheck');
    my %has = map { $_ => installed($_) } qw(sh dash bash);
    my $parsed = 0;
    for my $script (@scripts) {
        my ($entry, $interpreter, $extended) = @$script;
        my $path = $entry->{path};
        # Without a #! line the writer's shell is unknown; bash accepts the most.
        my $shell = defined $interpreter ? $interpreter : $path =~ /\.(?:ksh|zsh|bats)\z/i ? 'other' : 'bash';
        if (!$has{$shell} || $path =~ /\.bats\z/i) { $checkout->{skipped}{"a script for a shell that is not here"}++; next }
        if (++$parsed > MAX_SCRIPTS) { $checkout->{skipped}{'past the limit of scripts'}++; next }
        my $full = "$checkout->{root}/$path";
        my ($said, $code, $signal) = ask($shell, '-n', $full);
        if ($code != 0 && !$signal && !($extended && $said =~ /\(/)) {
            $said =~ s/\A\Q$full\E: //;
            my ($row, $reason) = $said =~ /\A(?:line )?([0-9]+): ([^\n]*)/;
            $reason = $said if !defined $reason;
            $reason =~ s/\s+\z//;
            $report->finding(
                rule => 'EPR-L001', path => $path, line => $row || 1, evidence => 'syntax',
                message => "$shell cannot parse this: " . substr(Report::plain($reason), 0, 160) . '.',
            ) if !(Checkout::Kinds::is_test($path) && $path =~ $MEANT_BROKEN);
            next;
        }
        next if !$shellcheck;
        if ((-s $full || 0) > MAX_SHELLCHECK_BYTES) { $checkout->{skipped}{'a script too large for shellcheck'}++; next }
        shellcheck($path, $full);
    }
    $report->tool('shell', join(', ', grep { $has{$_} } sort keys %has) . ", $parsed scripts parsed");
    $report->tool('shellcheck', $shellcheck ? 'took part (errors only)' : 'not installed');
    return;
}

sub shellcheck {
    my ($path, $full) = @_;
    my ($said) = ask('shellcheck', '--norc', '-S', 'error', '-e', 'SC2148', '-f', 'gcc', $full);
    for my $line (split /\n/, $said) {
        my ($row, $column, $message) = $line =~ /\A\Q$full\E:([0-9]+):([0-9]+): error: (.*)\z/ or next;
        $report->finding(
            rule => 'EPR-L012', path => $path, line => $row, column => $column, evidence => $message, message => "shellcheck: $message",
        );
    }
    return;
}

# Compiles, imports nothing, writes nothing. Names come NUL-separated in a file; answers are NUL-separated triples.
my $COMPILE;
BEGIN {
    $COMPILE = <<'PYTHON';
import sys, warnings
warnings.simplefilter("ignore")
sys.setrecursionlimit(2000)
out = sys.stdout.buffer
for name in open(sys.argv[1], "rb").read().split(b"\0"):
    if not name:
        continue
    try:
        with open(name, "rb") as source:
            compile(source.read(), "file", "exec", dont_inherit=True)
    except SyntaxError as error:
        out.write(name + b"\0" + str(error.lineno or 1).encode() + b"\0" + (error.msg or "").encode("utf-8", "replace") + b"\0")
    except (ValueError, RecursionError, MemoryError, OSError):
        pass
PYTHON
}

sub python_syntax {
    @python = grep { !(Checkout::Kinds::is_test($_->{path}) && $_->{path} =~ $MEANT_BROKEN) } @python;
    return if !@python;
    my ($version, $code) = installed('python3') ? ask('python3', '-I', '-c', 'import sys; print(sys.version.split()[0])') : ('', 127);
    if ($code != 0) {
        $report->tool('python3', 'not installed; ' . @python . ' Python files were not compiled');
        return;
    }
    $version =~ s/\s+\z//;
    if (@python > MAX_PYTHON) {
        $checkout->{skipped}{'past the limit of Python files'} += @python - MAX_PYTHON;
        splice @python, MAX_PYTHON;
    }
    my $list = ($ENV{TMPDIR} || '/tmp') . "/code-review-python.$$";
    open my $names, '>:raw', $list or die "code-review: cannot write a temporary file: $!\n";
    print {$names} "$checkout->{root}/$_->{path}\0" for @python;
    close $names or die "code-review: cannot write a temporary file: $!\n";
    my ($said, $ended, $signal) = ask('python3', '-I', '-S', '-B', '-c', $COMPILE, $list);
    unlink $list;
    if ($ended != 0 || $signal) {
        $report->tool('python3', "$version, ended badly; " . @python . ' Python files were not compiled');
        return;
    }
    my @answers = split /\0/, $said;
    while (my ($full, $row, $message) = splice @answers, 0, 3) {
        last if !defined $message;
        my $path = substr $full, 1 + length $checkout->{root};
        $report->finding(
            rule => 'EPR-L003', path => $path, line => $row, evidence => $message, message => "python3 cannot compile this: $message.",
        );
    }
    $report->tool('python3', "$version, " . @python . ' files compiled');
    return;
}
