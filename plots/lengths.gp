# Redraw with `gnuplot lengths.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'lengths.tsv'

# One pass over the rows: the datasets in their order, ranges, the title. Datasets go by number:
# their names may hold anything.
array name[64]
names = 0; model = ''; n_min = 1e18; n_max = 0; low = 1e18; high = 0; capped = 0
note_name(d) = (names == 0 || name[names] ne d) && names < 64 ? (names = names + 1, name[names] = d, 0) : 0
note_range(t, n, c) = (low = t < low ? t : low, high = t > high ? t : high, n_min = n < n_min ? n : n_min, \
    n_max = n > n_max ? n : n_max, capped = c > capped ? c : capped, 0)
note_text(m) = (model = m, 0)
stats data using (note_name(strcol('dataset')) + note_range(column('tokens'), column('n'), column('capped')) \
    + note_text(strcol('model'))) nooutput
colours = '#0072B2 #E69F00 #009E73 #D55E00 #CC79A7 #56B4E9 #000000 #882255'
colour(i) = word(colours, 1 + (i - 1) % words(colours))
pale(i) = '#d0'.substr(colour(i), 2, 7)
at(i, p) = strcol('dataset') eq name[i] && strcol('part') eq p ? column('tokens') : NaN
counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)

longest = 12
do for [i = 1:names] { longest = strlen(name[i]) > longest ? strlen(name[i]) : longest }
width = 900
entry_px = 8.0 * longest + 50
entries = names + 2
columns = style_columns(entries, entry_px, width)
legend_rows = style_rows(entries, columns)
height = 424 + 24 * legend_rows
legend_text(i) = i <= names ? name[i] : i == names + 1 ? 'prompt' : 'decode'
legend_x(i) = 0.5 + ((i - 1) % columns - columns / 2.0) * entry_px / width + 0.02
legend_y(i) = (24.0 * (legend_rows - (i - 1) / columns) - 6) / height
bottom = (76 + 24.0 * legend_rows) / height

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            background '#ffffff' noenhanced
    }
    set output 'lengths.'.format
    load 'style.gp'
    set title 'lengths under full    '.model.'    '.counts.(capped > 0 ? sprintf(', up to %.0f cut at the cap', capped) : '') font ',13'
    set lmargin at screen 0.08; set rmargin at screen 0.98
    set bmargin at screen bottom; set tmargin at screen 1 - 40.0 / height
    set logscale x 2
    set xrange [low / 1.1 : high * 1.1]
    set yrange [0 : 1.02]
    set ytics nomirror 0.2 format '%.1f'
    set grid xtics lt 1 lw 0.8 lc rgb '#efefef'
    set xlabel 'tokens' offset 0, 0.3
    set ylabel 'cumulative share (95 % band)'
    unset key
    do for [i = 1:entries] {
        set label i legend_text(i) at screen legend_x(i), legend_y(i) left offset 1.9, 0
        set arrow i from screen legend_x(i) - 12.0 / width, legend_y(i) to screen legend_x(i) + 12.0 / width, legend_y(i) nohead \
            lw (i <= names ? 5 : 1.8) lc rgb (i <= names ? colour(i) : '#333333')
    }
    set arrow names + 1 dashtype (5, 2.5)
    plot for [i = 1:names] for [p in 'prompt decode'] data using (at(i, p)):'lo':'hi' with filledcurves fc rgb pale(i) fs solid noborder, \
        for [i = 1:names] data using (at(i, 'prompt')):'share' with lines lw 1.8 dashtype (5, 2.5) lc rgb colour(i), \
        for [i = 1:names] data using (at(i, 'decode')):'share' with lines lw 2.2 lc rgb colour(i)
    unset label
    unset arrow
    unset output
}
