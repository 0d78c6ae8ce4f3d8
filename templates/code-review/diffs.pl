#!/usr/bin/env perl
# What the latest change does that deserves a second look.
#
# The change is: since the merge base with BASE when it is given; on a branch, since the merge base with the main
# branch; otherwise the last commit (its first parent, or nothing for the first commit of all).

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Checkout;
use Report;

# A change beyond this is an import, not something anybody reviews line by line.
use constant MAX_PATCH_BYTES => 64 << 20;

# A line longer than this is generated, or hides something; the patterns below take their time on one.
use constant MAX_LINE => 4_000;

# A lock file's name and the manifests that may have changed it.
my %MANIFEST = (
    'Cargo.lock' => ['Cargo.toml'], 'package-lock.json' => ['package.json'], 'npm-shrinkwrap.json' => ['package.json'],
    'yarn.lock' => ['package.json'], 'pnpm-lock.yaml' => ['package.json', 'pnpm-workspace.yaml'], 'bun.lock' => ['package.json'],
    'poetry.lock' => ['pyproject.toml'], 'uv.lock' => ['pyproject.toml'], 'pdm.lock' => ['pyproject.toml'], 'Pipfile.lock' => ['Pipfile'],
    'Gemfile.lock' => ['Gemfile'], 'composer.lock' => ['composer.json'], 'go.sum' => ['go.mod'], 'mix.lock' => ['mix.exs'],
    'flake.lock' => ['flake.nix'], '.terraform.lock.hcl' => ['*.tf'],
);

# What an added line may say: rule, pattern, message, and where it counts. Each pattern is written so that it does not
# match itself.
my @ADDED = (
    ['EPR-D005', qr/\|\|\s*(?:true|:)(?=\s*(?:$|[;)&#"'`}]))/, 'The failure of this command is ignored.', \&runs_commands],
    ['EPR-D006', qr/\bgit\s+(?:commit|push|merge|rebase|am|cherry-pick)\b[^|;&]*\s--no-verify\b/, 'git is told to skip its hooks.', \&any],
    ['EPR-D007', qr/\bverify\s*=\s*False\b|\bverify_ssl\s*=\s*False\b|\bcheck_hostname\s*=\s*False\b|\bssl\._create_unverified_context\b|\b(?:verify_mode|cert_reqs)\s*=\s*['\"]?(?:ssl\.)?CERT_NONE\b/, 'Certificates are not checked.', \&any],
    ['EPR-D007', qr/\bInsecureSkipVerify\s*:\s*true\b/, 'Certificates are not checked.', \&any],
    ['EPR-D007', qr/\brejectUnauthorized['"]?\s*:\s*false\b|\bNODE_TLS_REJECT_UNAUTHORIZED['"]?\]?\s*[:=]\s*['"]?0/, 'Certificates are not checked.', \&any],
    ['EPR-D007', qr/\bdanger_accept_invalid_(?:certs|hostnames)\s*\(\s*true\b/, 'Certificates are not checked.', \&any],
    ['EPR-D007', qr/\bCURLOPT_SSL_VERIFY(?:PEER|HOST)\s*(?:,|=>)\s*(?:false\b|0)/i, 'Certificates are not checked.', \&any],
    ['EPR-D007', qr/\bhttp\.sslVerify(?:[= ]|['"]\s*,\s*['"])false\b|\bGIT_SSL_NO_VERIFY\s*=\s*['"]?(?:1|true)/, 'git does not check certificates.', \&any],
    ['EPR-D007', qr/\bStrictHostKeyChecking[= ]no\b/, 'ssh does not check whom it speaks to.', \&any],
    ['EPR-D007', qr/\bcurl\s(?:[^|;&]*\s)?(?:--insecure\b|-[a-zA-Z]*k[a-zA-Z]*(?=\s))|\bwget\s[^|;&]*--no-check-certificate\b/, 'Certificates are not checked.', \&runs_commands],
    ['EPR-D008', qr/\bchmod\s+(?:-\S+\s+)*(?:0?777|a\+rwx|o\+w|a\+w)\b|\bos\.chmod\([^)]*0o?777\b|\bfs\.chmod(?:Sync)?\([^)]*0o777\b/, 'Everybody may write here.', \&any],
    ['EPR-D009', qr/\@(?:pytest\.mark\.skip|unittest\.skip)\b|\@(?:Ignore|Disabled)\b|\b(?:it|test|describe)\.skip\s*\(|\bx(?:it|describe)\s*\(\s*['"`]|\bt\.Skip(?:Now|f)?\s*\(|#\[ignore\b/, 'A test is skipped.', \&any],
);

# A word of each pattern above; most lines hold none and need no closer look.
my $PROMISING = qr/\|\||verif|CERT_NONE|_hostname|InsecureSkip|rejectUnauth|TLS_REJECT|danger_accept|SSL_VERIFY|sslVerify|SSL_NO|StrictHost|curl|wget|chmod|[sS]kip|[iI]gnore|Disabled|\bx(?:it|describe)/;

my $checkout = Checkout->from_env;
my $report = Report->begin('diffs');
my ($old, $new, $what) = range();
review() if defined $new;
$report->note($what);
$report->finish($checkout);

# The two trees to compare, and a sentence about them.
sub range {
    my $head = $checkout->head;
    return (undef, undef, 'There is no commit yet, so no change was reviewed.') if !defined $head;

    my $wanted = defined $ENV{BASE} ? $ENV{BASE} : '';
    if ($wanted ne '') {
        my $commit = $checkout->line('rev-parse', '-q', '--verify', '--end-of-options', "$wanted^{commit}");
        Checkout::fail("the input `base` names no commit of this checkout: '$wanted'") if !defined $commit;
        my $base = $checkout->line('merge-base', $commit, $head);
        Checkout::fail("'$wanted' and what is checked out have no common history here") if !defined $base;
        return ($base, $head, 'The change since ' . substr($base, 0, 12) . ", where '$wanted' was left, was reviewed.");
    }
    my $branch = $checkout->line('symbolic-ref', '-q', '--short', 'HEAD');
    if (defined $branch && $branch !~ /\A(?:main|master|trunk|develop)\z/) {
        for my $main (qw(refs/remotes/origin/HEAD refs/remotes/origin/main refs/remotes/origin/master refs/heads/main refs/heads/master)) {
            my $commit = $checkout->line('rev-parse', '-q', '--verify', "$main^{commit}");
            next if !defined $commit;
            my $base = $checkout->line('merge-base', $commit, $head);
            last if !defined $base || $base eq $head;
            return ($base, $head, "The change since the branch '$branch' left $main at " . substr($base, 0, 12) . ' was reviewed.');
        }
    }
    my $parent = $checkout->line('rev-parse', '-q', '--verify', "$head^1");
    return ($parent, $head, 'The last commit, ' . substr($head, 0, 12) . ', was reviewed.') if defined $parent;
    return (undef, undef, 'The clone is shallow and holds only its last commit, so no change was reviewed.')
        if ($checkout->line('rev-parse', '--is-shallow-repository') || '') eq 'true';
    my $empty = $checkout->line('hash-object', '-t', 'tree', '/dev/null');
    return ($empty, $head, 'The first commit of all, ' . substr($head, 0, 12) . ', was reviewed.');
}

sub review {
    my @changes = changes();
    my %changed = map { $_->{path} => 1, (defined $_->{from} ? ($_->{from} => 1) : ()) } @changes;
    judge($_, \%changed) for @changes;
    added_lines(\@changes);
    return;
}

# The changed files, in git's order.
sub changes {
    my @records = $checkout->lines('diff-tree', '-r', '-M', '-z', '--raw', '--no-commit-id', $old, $new);
    my @changes;
    while (defined(my $about = shift @records)) {
        my ($before, $after, $status) = $about =~ /\A:([0-7]{6}) ([0-7]{6}) \S+ \S+ ([A-Z])/ or last;
        my $from = $status =~ /[RC]/ ? shift @records : undef;
        push @changes, {before => $before, after => $after, status => $status, from => $from, path => shift @records};
    }
    return @changes;
}

sub judge {
    my ($change, $changed) = @_;
    my $path = $change->{path};
    my $tell = sub { my ($rule, $message) = @_; $report->finding(rule => $rule, path => $path, evidence => $change->{status}, message => $message) };

    $tell->('EPR-D001', 'The change deletes this test.') if $change->{status} eq 'D' && Checkout::Kinds::is_test($path) && !Checkout::Kinds::is_prose($path);
    $tell->('EPR-D002', 'The change ' . {A => 'adds', D => 'deletes'}->{$change->{status}} . ' what CI runs.')
        if Checkout::Kinds::is_ci($path) && $change->{status} =~ /[AD]/;
    $change->{ci} = 1 if Checkout::Kinds::is_ci($path) && $change->{status} !~ /[AD]/;
    $tell->('EPR-D010', 'The change alters how tools show and treat the files here.') if $path =~ m{(?:\A|/)\.gitattributes\z};
    $tell->('EPR-D004', 'This file became executable.') if $change->{before} eq '100644' && $change->{after} eq '100755';

    my ($folder, $name) = $path =~ m{\A(.*/)?([^/]+)\z}s;
    $folder = '' if !defined $folder;
    my $manifests = $MANIFEST{$name};
    if ($manifests && $change->{status} eq 'M' && !manifest_changed($folder, $manifests, $changed)) {
        $tell->('EPR-D003', 'This lock file changed, and no manifest of its own did (' . join(', ', @$manifests) . ').');
    }
    return;
}

# A manifest in the lock file's folder or below: a workspace has many, one lock file.
sub manifest_changed {
    my ($folder, $manifests, $changed) = @_;
    for my $path (keys %$changed) {
        next if index($path, $folder) != 0;
        for my $manifest (@$manifests) {
            my $pattern = quotemeta $manifest;
            $pattern =~ s/\\\*/[^\/]*/;
            return 1 if $path =~ m{(?:\A|/)$pattern\z};
        }
    }
    return 0;
}

# Walks one patch of everything, as text whatever attributes the change itself brings: a change does not decide how closely
# it is looked at. Its sections stand in the order of `changes`; a change of type takes two.
sub added_lines {
    my ($changes) = @_;
    my @sections = map { $_->{status} eq 'T' ? ($_, $_) : ($_) } @$changes;
    my $patch = $checkout->stream('diff-tree', '-r', '-M', '-p', '-U0', '--no-commit-id', '--no-color', '--text', '--no-ext-diff', '--no-textconv',
        '--src-prefix=a/', '--dst-prefix=b/', '--submodule=short', '--ignore-submodules=none', $old, $new);
    my ($change, $row, $bytes, $reads) = (undef, 0, 0, 0);
    while (my $line = <$patch>) {
        $bytes += length $line;
        if ($bytes > MAX_PATCH_BYTES) { $report->note('The change is larger than 64 MiB; what lies beyond was not reviewed line by line.'); last }
        if ($line =~ /\Adiff --git /) {
            $change = shift @sections;
            last if !defined $change;
            $row = 0;
            $reads = !Checkout::Kinds::is_prose($change->{path}) && !Checkout::Kinds::is_vendored($change->{path});
            next;
        }
        last if !defined $change;
        if ($line =~ /\A\@\@ -[0-9,]+ \+([0-9]+)/) {
            $row = $1;
            if (delete $change->{ci}) {
                $report->finding(rule => 'EPR-D002', path => $change->{path}, line => $row || 1, evidence => 'M', message => 'The change alters what CI runs.');
            }
            next;
        }
        next if !$row || substr($line, 0, 1) ne '+';
        added($change->{path}, $row, substr $line, 1) if $reads && (length $line > MAX_LINE || $line =~ $PROMISING);
        $row++;
    }
    $checkout->ended($patch);
    # A rename or a change of mode has no lines.
    $report->finding(rule => 'EPR-D002', path => $_->{path}, evidence => 'R', message => 'The change moves what CI runs, or its mode.') for grep { $_->{ci} } @$changes;
    return;
}

sub added {
    my ($path, $row, $line) = @_;
    $line =~ s/\r?\n\z//;
    if (length $line > MAX_LINE) { $checkout->{skipped}{'an added line of more than 4,000 bytes'}++; return }
    return if $line =~ m{\A\s*(?:\#(?!\[)|//|/\*|\*\s|--\s|;|<!--)};
    my %told;
    for my $rule (@ADDED) {
        my ($id, $pattern, $message, $counts) = @$rule;
        next if $told{$id} || $line !~ $pattern || !$counts->($path);
        $told{$id} = 1;
        my $before = substr $line, 0, $-[0];
        utf8::decode($before);
        $report->finding(
            rule => $id, path => $path, line => $row, column => 1 + length $before, evidence => $message, message => $message,
            ($id eq 'EPR-D007' && Checkout::Kinds::is_test($path) ? (severity => 'low') : ()),
        );
    }
    return;
}

sub any { return 1 }
sub runs_commands { return Checkout::Kinds::is_shell($_[0]) || Checkout::Kinds::is_ci($_[0]) || Checkout::Kinds::is_build($_[0]) }
